-- audit: add a record of what was done to a subject. Records that were kept for
-- long enough go with it.
-- include now
-- include expect
-- include fence
-- include keep
-- KEYS  1 the subject's records, by their numbers (zset)
--       2 the same, by until when they are kept (zset)
--       3 what they say (hash)  4 the pages of this one's items (hash)
--       5 last number (string)  6 subjects with records (zset)
-- ARGV  1 subject  2 record  3 body  4 retention in ms
-- returns {'OK'}
--         {'EXISTS'}  it is there, with another body
local at = now()
local x = redis.call('HGET', KEYS[3], ARGV[2])
if x then
  local till, body = string.match(x, '^(%d+) %d+ (.*)$')
  if tonumber(till) > at then
    return {body == ARGV[3] and 'OK' or 'EXISTS'}
  end
end
local number = fence(KEYS[5], at)
for _, i in ipairs({1, 2, 6}) do
  expect(KEYS[i], 'zset')
end
expect(KEYS[4], 'hash')
local till = at + tonumber(ARGV[4])
redis.call('SET', KEYS[5], number)
redis.call('DEL', KEYS[4])
local gone, last = keep(KEYS[2], ARGV[2], till, at)
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
  redis.call('HDEL', KEYS[3], unpack(gone))
end
redis.call('ZADD', KEYS[1], number, ARGV[2])
redis.call('HSET', KEYS[3], ARGV[2], string.format('%.0f %.0f ', till, at) .. ARGV[3])
local lives = string.format('%.0f', last - at + 60000)
redis.call('PEXPIRE', KEYS[1], lives)
redis.call('PEXPIRE', KEYS[3], lives)
redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', at)
redis.call('ZADD', KEYS[6], string.format('%.0f', last), ARGV[1])
return {'OK'}
