-- putletters: add letters of one bucket, but for those that are there.
-- include expect
-- KEYS  1 the bucket's ids and summaries (zset)
--       2 queues with letters in the partition (hash)
--       from 3 on the letters (string)
-- ARGV  1 queue; then of each letter its id, its summary and its body
-- returns {'OK'}
expect(KEYS[1], 'zset')
expect(KEYS[2], 'hash')
for i = 3, #KEYS do
  expect(KEYS[i], 'string')
end
local added = 0
for i = 3, #KEYS do
  local id, summary, body = ARGV[3 * i - 7], ARGV[3 * i - 6], ARGV[3 * i - 5]
  if redis.call('EXISTS', KEYS[i]) == 0 then
    redis.call('SET', KEYS[i], #summary .. ':' .. summary .. body)
    redis.call('ZADD', KEYS[1], 0, id .. '\0' .. summary)
    added = added + 1
  end
end
if added > 0 then
  redis.call('HINCRBY', KEYS[2], ARGV[1], added)
end
return {'OK'}
