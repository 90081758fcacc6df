-- inspect: read a lock and the first of those who wait for it.
-- KEYS  1 lock (hash)  2 its queue (zset)
-- ARGV  1 how many of those who wait
-- returns {owner, request, fence, since, number of all who wait,
--          {request, since and owner, request, since and owner, ...}}
--         {''}  it is free
local x = redis.call('HMGET', KEYS[1], 'o', 'r', 'f', 's')
if not x[2] then
  return {''}
end
local queue = {}
for i, request in ipairs(redis.call('ZRANGE', KEYS[2], 0, ARGV[1])) do
  if i > tonumber(ARGV[1]) then
    break
  end
  queue[2 * i - 1] = request
  queue[2 * i] = redis.call('HGET', KEYS[1], 'q:' .. request) or ''
end
return {x[1], x[2], x[3], x[4], redis.call('ZCARD', KEYS[2]), queue}
