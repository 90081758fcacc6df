-- deleteletters: delete letters of one bucket.
-- include expect
-- KEYS  1 the bucket's ids and summaries (zset)
--       2 queues with letters in the partition (hash)
--       from 3 on the letters (string)
-- ARGV  1 queue; then the ids of the letters
-- returns {'OK'}
expect(KEYS[1], 'zset')
expect(KEYS[2], 'hash')
for i = 3, #KEYS do
  expect(KEYS[i], 'string')
end
local deleted = 0
for i = 3, #KEYS do
  local id = ARGV[i - 1]
  local found = redis.call('ZRANGEBYLEX', KEYS[1], '[' .. id .. '\0', '(' .. id .. '\1')
  if #found > 0 then
    redis.call('ZREM', KEYS[1], unpack(found))
  end
  -- A letter that Redis has lost is counted still.
  deleted = deleted + math.max(redis.call('DEL', KEYS[i]), #found)
end
if deleted > 0 and redis.call('HINCRBY', KEYS[2], ARGV[1], -deleted) <= 0 then
  redis.call('HDEL', KEYS[2], ARGV[1])
end
return {'OK'}
