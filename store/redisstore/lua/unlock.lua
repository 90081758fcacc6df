-- unlock: give a lock back, or a place in its queue, and grant it to the first
-- who waits. The request is remembered for a while, so that it cannot come back.
-- The stored time decides; the key's time to live is a minute longer.
-- include now
-- include expect
-- include fence
-- KEYS  1 lock (hash)  2 its queue (zset)  3 its requests that were released (zset)
--       4 last fence (string)  5 locks that are held (zset)
-- ARGV  1 resource  2 request  3 how long to remember it, in ms
-- returns {'HELD', owner, request, fence, since}  by whom it is now
--         {'FREE'}
local at = now()
local x = redis.call('HMGET', KEYS[1], 'o', 'r', 'f', 's')
local next = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
local f
if x[2] == ARGV[2] then
  expect(KEYS[5], 'zset')
  f = next and fence(KEYS[4], at)
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', at)
redis.call('ZADD', KEYS[3], string.format('%.0f', at + tonumber(ARGV[3])), ARGV[2])
local lives = tonumber(ARGV[3]) + 60000
if redis.call('PTTL', KEYS[3]) < lives then
  redis.call('PEXPIRE', KEYS[3], string.format('%.0f', lives))
end
if not x[2] then
  return {'FREE'}
end
if x[2] ~= ARGV[2] then
  if redis.call('ZREM', KEYS[2], ARGV[2]) == 1 then
    redis.call('HDEL', KEYS[1], 'q:' .. ARGV[2])
  end
  return {'HELD', x[1], x[2], x[3], x[4]}
end
if not next then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[5], ARGV[1])
  return {'FREE'}
end
local owner = string.match(redis.call('HGET', KEYS[1], 'q:' .. next) or '', '^%d+ (.*)$') or ''
local since = string.format('%.0f', at)
redis.call('SET', KEYS[4], f)
redis.call('ZREM', KEYS[2], next)
redis.call('HDEL', KEYS[1], 'q:' .. next)
redis.call('HSET', KEYS[1], 'o', owner, 'r', next, 'f', f, 's', since)
redis.call('ZADD', KEYS[5], since, ARGV[1])
return {'HELD', owner, next, f, since}
