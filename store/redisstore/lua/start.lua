-- start: create an execution, and open it where a nonce is given.
-- include now
-- include gone
-- include mail
-- include version
-- include standing
-- include chain
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
--         {'VERSION', version}      written in another format
--         {'GONE'}      the id's execution was purged, its tombstone stands
local at = now()
local x = redis.call('HMGET', KEYS[1], 'v', 's', 'n', 'c', 'mn', 'mt', 'y')
local posted, trimmed = tonumber(x[5] or 0), tonumber(x[6] or 0)
if x[1] then
  if version(x[1]) ~= ARGV[2] then
    return {'VERSION', version(x[1])}
  end
  if string.match(x[1], '^%S+ %S+ (.*)$') ~= ARGV[3] then
    return {'CONFLICT'}
  end
  local status = standing(x[2])
  if ARGV[11] ~= '' and x[3] == '1:' .. ARGV[11] then
    return {'EXISTS', at, status, 1, 1, mail(KEYS[6], posted, trimmed, trimmed)}
  end
  return {'EXISTS', at, status, chain(x[4]) == ARGV[9] and 1 or 0, 0}
end
if gone(KEYS[4], ARGV[1], at) then
  return {'GONE'}
end
local epoch, delay, commit = '0', ARGV[10], ARGV[9]
if ARGV[11] ~= '' then
  epoch, delay, commit = '1', ARGV[12], commit .. ' 1'
end
local wake = string.format('%.0f', at + tonumber(delay))
local due = wake
-- The history is written first, and so need not be looked at.
expect(KEYS[3], 'zset')
expect(KEYS[5], 'zset')
local mails = {}
if x[7] then
  -- Mail was here before. What is left of it is the execution's.
  expect(KEYS[2], 'list')
  expect(KEYS[6], 'list')
  expect(KEYS[7], 'zset')
  local over, left = early(x[7], at)
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
  'v', string.format('%s %.0f ', ARGV[2], at) .. ARGV[3], 'h', ARGV[4],
  's', ARGV[5] .. '\n' .. ARGV[6], 'f:', ARGV[7], 'c', commit,
  'n', epoch .. ':' .. ARGV[11], 'w', wake)
return {'CREATED', at, trimmed, mails}
