-- lock: take a lock that is free or its group's, or a place in its queue.
-- include now
-- include expect
-- include fence
-- KEYS  1 lock (hash)  2 its queue (zset)  3 who shares it with its holder (zset)
--       4 its requests that were released (zset)  5 last fence (string)
--       6 locks that are held (zset)
-- ARGV  1 resource  2 owner  3 group  4 request  5 not after (ms)
-- returns {'HELD', owner, request, fence, since}         by this request
--         {'WAIT', owner, request, fence, since, place}  by another
--         {'RELEASED'}  the request was released before
--         {'LATE'}      it came after its time
local at = now()
local x = redis.call('HMGET', KEYS[1], 'o', 'r', 'f', 's', 'g', 'n')
if x[2] == ARGV[4] then
  return {'HELD', x[1], x[2], x[3], x[4]}
end
local place = redis.call('ZRANK', KEYS[2], ARGV[4])
local shares = x[5] == ARGV[3]
if place and not shares then
  return {'WAIT', x[1], x[2], x[3], x[4], place + 1}
end
if shares and redis.call('ZSCORE', KEYS[3], ARGV[4]) then
  return {'HELD', ARGV[2], ARGV[4], x[3], x[4]}
end
if not place then
  local released = redis.call('ZSCORE', KEYS[4], ARGV[4])
  if released and tonumber(released) > at then
    return {'RELEASED'}
  end
  if at > tonumber(ARGV[5]) then
    return {'LATE'}
  end
end
local since = string.format('%.0f', at)
if not x[2] then
  local f = fence(KEYS[5], at)
  expect(KEYS[6], 'zset')
  redis.call('SET', KEYS[5], f)
  redis.call('HSET', KEYS[1], 'o', ARGV[2], 'r', ARGV[4], 'f', f, 's', since, 'g', ARGV[3])
  redis.call('ZADD', KEYS[6], since, ARGV[1])
  return {'HELD', ARGV[2], ARGV[4], f, since}
end
-- The first write is to a key that was read.
local n = tonumber(x[6] or 0) + 1
if place then
  redis.call('ZREM', KEYS[2], ARGV[4])
end
if shares then
  redis.call('ZADD', KEYS[3], n, ARGV[4])
else
  redis.call('ZADD', KEYS[2], n, ARGV[4])
end
redis.call('HSET', KEYS[1], 'n', n, 'q:' .. ARGV[4],
  since .. ' ' .. #ARGV[3] .. ' ' .. ARGV[3] .. ARGV[2])
if shares then
  return {'HELD', ARGV[2], ARGV[4], x[3], x[4]}
end
return {'WAIT', x[1], x[2], x[3], x[4], redis.call('ZCARD', KEYS[2])}
