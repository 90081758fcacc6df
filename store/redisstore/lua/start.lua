-- start: create an execution, and open it where a nonce is given.
-- include now
-- KEYS  1 execution (hash)  2 history (list)  3 timers (zset)
--       4 tombstones (zset)  5 index (zset)
-- ARGV  1 id  2 format version  3 match  4 meta  5 status  6 index name
--       7 root frame  8 history entry  9 commit id  10 wake-up in ms from now
--       11 nonce, or ''  12 lease in ms
-- returns {'CREATED', now}
--         {'EXISTS', now, status, 1 where the nonce holds it}
--         {'CONFLICT'}  the id is taken by another definition or input
--         {'GONE'}      the id's execution was purged, its tombstone stands
local at = now()
local x = redis.call('HMGET', KEYS[1], 'k', 's', 'e', 'n')
if x[1] then
  if x[1] ~= ARGV[3] then
    return {'CONFLICT'}
  end
  local mine = ARGV[11] ~= '' and x[4] == ARGV[11] and x[3] == '1'
  return {'EXISTS', at, x[2], mine and 1 or 0}
end
local until_ = redis.call('ZSCORE', KEYS[4], ARGV[1])
if until_ and tonumber(until_) > at then
  return {'GONE'}
end
local wake = at + tonumber(ARGV[10])
local epoch, held = '0', '0'
if ARGV[11] ~= '' then
  epoch = '1'
  held = string.format('%.0f', at + tonumber(ARGV[12]))
end
redis.call('HSET', KEYS[1],
  'v', ARGV[2], 'k', ARGV[3], 'h', ARGV[4], 's', ARGV[5], 'ix', ARGV[6],
  'f:', ARGV[7], 'c', ARGV[9], 'e', epoch, 'n', ARGV[11], 'l', held,
  'w', held == '0' and string.format('%.0f', wake) or '0',
  'x', epoch, 'xc', ARGV[9], 'b', string.format('%.0f', at))
redis.call('RPUSH', KEYS[2], ARGV[8])
redis.call('ZADD', KEYS[3], held == '0' and wake or held, ARGV[1])
redis.call('ZADD', KEYS[5], at, ARGV[1])
return {'CREATED', at}
