-- start: create an execution, and open it where a nonce is given.
-- include now
-- include gone
-- include mail
-- include expect
-- include early
-- KEYS  1 execution (hash)  2 history (list)  3 timers (zset)
--       4 tombstones (zset)  5 index (zset)  6 mail (list)
--       7 ids of mail seen (zset)
-- ARGV  1 id  2 format version  3 match  4 meta  5 status  6 index name
--       7 root frame  8 history entry, or ''  9 commit id
--       10 wake-up in ms from now  11 nonce, or ''  12 lease in ms
-- returns {'CREATED', now, mails absorbed, mails}
--         {'EXISTS', now, status, 1 where this start made it,
--          1 where the nonce holds it, mails absorbed, mails}
--         and mails where it is open
--         {'CONFLICT'}  the id is taken by another definition or input
--         {'GONE'}      the id's execution was purged, its tombstone stands
local at = now()
local x = redis.call('HMGET', KEYS[1], 'k', 's', 'e', 'n', 'c', 'mn', 'mt', 'y')
local posted, trimmed = tonumber(x[6] or 0), tonumber(x[7] or 0)
if x[1] then
  if x[1] ~= ARGV[3] then
    return {'CONFLICT'}
  end
  if ARGV[11] ~= '' and x[4] == ARGV[11] and x[3] == '1' then
    return {'EXISTS', at, x[2], 1, 1, mail(KEYS[6], posted, trimmed, trimmed)}
  end
  return {'EXISTS', at, x[2], x[5] == ARGV[9] and 1 or 0, 0}
end
if gone(KEYS[4], ARGV[1], at) then
  return {'GONE'}
end
local epoch, held, wake = '0', '0', string.format('%.0f', at + tonumber(ARGV[10]))
local due = wake
if ARGV[11] ~= '' then
  held = string.format('%.0f', at + tonumber(ARGV[12]))
  epoch, wake, due = '1', '0', held
end
-- The history is written first, and so need not be looked at.
expect(KEYS[3], 'zset')
expect(KEYS[5], 'zset')
local mails = {}
if x[8] then
  -- Mail was here before. What is left of it is the execution's.
  expect(KEYS[2], 'list')
  expect(KEYS[6], 'list')
  expect(KEYS[7], 'zset')
  local over, left = early(x[8], at)
  if #left == 0 then
    redis.call('DEL', KEYS[1], KEYS[6], KEYS[7])
    trimmed = 0
  else
    trimmed = trimmed + over
    redis.call('HDEL', KEYS[1], 'y')
    redis.call('HSET', KEYS[1], 'mt', trimmed)
    redis.call('LTRIM', KEYS[6], over, -1)
    redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', trimmed)
    redis.call('PERSIST', KEYS[1])
    redis.call('PERSIST', KEYS[6])
    redis.call('PERSIST', KEYS[7])
    if ARGV[11] == '' then
      due = at
    else
      mails = redis.call('LRANGE', KEYS[6], 0, -1)
    end
  end
end
if ARGV[8] ~= '' then
  redis.call('RPUSH', KEYS[2], ARGV[8])
end
redis.call('ZADD', KEYS[3], due, ARGV[1])
redis.call('ZADD', KEYS[5], at, ARGV[1])
redis.call('HSET', KEYS[1],
  'v', ARGV[2], 'k', ARGV[3], 'h', ARGV[4], 's', ARGV[5], 'ix', ARGV[6],
  'f:', ARGV[7], 'c', ARGV[9], 'e', epoch, 'n', ARGV[11], 'l', held, 'w', wake,
  'x', epoch, 'xc', ARGV[9], 'b', string.format('%.0f', at))
return {'CREATED', at, trimmed, mails}
