-- unlock: give a lock back, or a place in its queue. Where nobody shares it any
-- more, it is granted to the first who waits. The request is remembered for a
-- while, so that it cannot come back. The stored time decides; the key's time to
-- live is a minute longer.
-- include now
-- include expect
-- include fence
-- KEYS  1 lock (hash)  2 its queue (zset)  3 who shares it with its holder (zset)
--       4 its requests that were released (zset)  5 last fence (string)
--       6 locks that are held (zset)
-- ARGV  1 resource  2 request  3 how long to remember it, in ms
-- returns {'HELD', owner, request, fence, since}  by whom it is now
--         {'FREE'}
local at = now()
local x = redis.call('HMGET', KEYS[1], 'o', 'r', 'f', 's')
local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
local sharer = redis.call('ZRANGE', KEYS[3], 0, 0)[1]
local next = sharer or first
local owner, group, f
if x[2] == ARGV[2] then
  expect(KEYS[6], 'zset')
  if next then
    local length, rest = string.match(redis.call('HGET', KEYS[1], 'q:' .. next), '^%d+ (%d+) (.*)$')
    length = tonumber(length)
    group, owner = string.sub(rest, 1, length), string.sub(rest, length + 1)
    f = sharer and x[3] or fence(KEYS[5], at)
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', at)
redis.call('ZADD', KEYS[4], string.format('%.0f', at + tonumber(ARGV[3])), ARGV[2])
local lives = tonumber(ARGV[3]) + 60000
if redis.call('PTTL', KEYS[4]) < lives then
  redis.call('PEXPIRE', KEYS[4], string.format('%.0f', lives))
end
if not x[2] then
  return {'FREE'}
end
if x[2] ~= ARGV[2] then
  if redis.call('ZREM', KEYS[2], ARGV[2]) + redis.call('ZREM', KEYS[3], ARGV[2]) > 0 then
    redis.call('HDEL', KEYS[1], 'q:' .. ARGV[2])
  end
  return {'HELD', x[1], x[2], x[3], x[4]}
end
if not next then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[6], ARGV[1])
  return {'FREE'}
end
redis.call('HDEL', KEYS[1], 'q:' .. next)
redis.call('HSET', KEYS[1], 'o', owner, 'r', next)
if sharer then
  redis.call('ZREM', KEYS[3], next)
  return {'HELD', owner, next, f, x[4]}
end
local since = string.format('%.0f', at)
redis.call('ZREM', KEYS[2], next)
redis.call('SET', KEYS[5], f)
redis.call('HSET', KEYS[1], 'f', f, 's', since, 'g', group)
redis.call('ZADD', KEYS[6], since, ARGV[1])
return {'HELD', owner, next, f, since}
