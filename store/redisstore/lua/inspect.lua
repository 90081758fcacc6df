-- inspect: read a lock, who shares it, and the first of those who wait for it.
-- KEYS  1 lock (hash)  2 its queue (zset)  3 who shares it with its holder (zset)
-- ARGV  1 how many at most of those who share it, and of those who wait
-- returns {owner, request, fence, since, number of all who wait,
--          {request, use, request, use, ...} of those who share it,
--          {request, use, request, use, ...} of those who wait}
--         {''}  it is free
local x = redis.call('HMGET', KEYS[1], 'o', 'r', 'f', 's')
if not x[2] then
  return {''}
end
local function uses(requests)
  local list = {}
  for i = 1, math.min(#requests, tonumber(ARGV[1])) do
    list[2 * i - 1] = requests[i]
    list[2 * i] = redis.call('HGET', KEYS[1], 'q:' .. requests[i])
  end
  return list
end
return {x[1], x[2], x[3], x[4], redis.call('ZCARD', KEYS[2]),
  uses(redis.call('ZRANGE', KEYS[3], 0, ARGV[1])), uses(redis.call('ZRANGE', KEYS[2], 0, ARGV[1]))}
