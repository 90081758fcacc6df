-- purge: delete an execution whose retention has run out, and leave a
-- tombstone. Tombstones that have served go with it.
-- include now
-- include version
-- include lease
-- include standing
-- include expect
-- KEYS  1 execution (hash)  2 history (list)  3 mail (list)
--       4 ids of mail seen (zset)  5 timers (zset)  6 tombstones (zset)
--       7 its index (zset)
-- ARGV  1 id  2 format version  3 tombstone in ms  4 index name
-- returns {'OK'}    purged, or missing already
--         {'KEPT'}  not ended, not released, its retention runs, with an
--                   outbox, or in another index
--         {'VERSION', version}      written in another format
local at = now()
local x = redis.call('HMGET', KEYS[1], 'v', 'z', 'w', 'o', 's', 'n')
if not x[1] then
  redis.call('ZREM', KEYS[5], ARGV[1])
  return {'OK'}
end
if version(x[1]) ~= ARGV[2] then
  return {'VERSION', version(x[1])}
end
local _, held = lease(x[6])
local _, index = standing(x[5])
if not x[2] or held or tonumber(x[3]) > at or x[4] or index ~= ARGV[4] then
  return {'KEPT'}
end
for i = 5, 7 do
  expect(KEYS[i], 'zset')
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[7], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', at)
redis.call('ZADD', KEYS[6], at + tonumber(ARGV[3]), ARGV[1])
return {'OK'}
