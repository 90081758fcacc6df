-- lock: take a lock that is free, or a place in its queue.
-- include now
-- include expect
-- include fence
-- KEYS  1 lock (hash)  2 its queue (zset)  3 its requests that were released (zset)
--       4 last fence (string)  5 locks that are held (zset)
-- ARGV  1 resource  2 owner  3 request  4 not after (ms)
-- returns {'HELD', owner, request, fence, since}         by this request
--         {'WAIT', owner, request, fence, since, place}  by another
--         {'RELEASED'}  the request was released before
--         {'LATE'}      it came after its time
local at = now()
local x = redis.call('HMGET', KEYS[1], 'o', 'r', 'f', 's', 'n')
if x[2] == ARGV[3] then
  return {'HELD', x[1], x[2], x[3], x[4]}
end
local place = redis.call('ZRANK', KEYS[2], ARGV[3])
if place then
  return {'WAIT', x[1], x[2], x[3], x[4], place + 1}
end
local released = redis.call('ZSCORE', KEYS[3], ARGV[3])
if released and tonumber(released) > at then
  return {'RELEASED'}
end
if at > tonumber(ARGV[4]) then
  return {'LATE'}
end
local since = string.format('%.0f', at)
if not x[2] then
  local f = fence(KEYS[4], at)
  expect(KEYS[5], 'zset')
  redis.call('SET', KEYS[4], f)
  redis.call('HSET', KEYS[1], 'o', ARGV[2], 'r', ARGV[3], 'f', f, 's', since)
  redis.call('ZADD', KEYS[5], since, ARGV[1])
  return {'HELD', ARGV[2], ARGV[3], f, since}
end
local n = tonumber(x[5] or 0) + 1
redis.call('ZADD', KEYS[2], n, ARGV[3])
redis.call('HSET', KEYS[1], 'n', n, 'q:' .. ARGV[3], since .. ' ' .. ARGV[2])
return {'WAIT', x[1], x[2], x[3], x[4], redis.call('ZCARD', KEYS[2])}
