-- canceljob: tell a job to stop. One that nobody holds and whose journal is empty
-- ends.
-- include now
-- include expect
-- include keep
-- include job
-- KEYS  1 the subject's job that has not ended, and its lease (hash)
--       2 the job (hash)  3 the journal (hash)  4 the subject's jobs (zset)
--       5 those that have ended, by until when they are kept (zset)
--       6 subjects with jobs (zset)
-- ARGV  1 subject  2 job  3 who tells it  4 status of one that ends
--       5 retention of one that ends, in ms
-- returns {'JOB', lease expiry, entries, the job}
--         {'MISSING'}
local at = now()
local o = redis.call('HMGET', KEYS[1], 'i', 'u')
local x = redis.call('HMGET', KEYS[2], 'c', 'x', 'ca')
local entries = redis.call('HLEN', KEYS[3])
if not x[1] or x[2] and tonumber(x[2]) <= at then
  return {'MISSING'}
end
if o[1] ~= ARGV[2] then -- it has ended
  return {'JOB', false, 0, job(KEYS[2])}
end
local ends = entries == 0 and not (o[2] and tonumber(o[2]) > at)
if ends then
  for i = 4, 6 do
    expect(KEYS[i], 'zset')
  end
end
local stamp = string.format('%.0f', at)
if not x[3] then
  redis.call('HSET', KEYS[2], 'by', ARGV[3], 'ca', stamp)
end
if ends then
  local till = at + tonumber(ARGV[5])
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[2], 'st', ARGV[4], 'e', stamp, 'x', string.format('%.0f', till))
  redis.call('PEXPIRE', KEYS[2], string.format('%.0f', till - at + 60000))
  local gone, last = keep(KEYS[5], ARGV[2], till, at)
  if #gone > 0 then
    redis.call('ZREM', KEYS[4], unpack(gone))
  end
  redis.call('PEXPIRE', KEYS[4], string.format('%.0f', last - at + 60000))
  redis.call('ZREMRANGEBYSCORE', KEYS[6], 1, at)
  redis.call('ZADD', KEYS[6], string.format('%.0f', last), ARGV[1])
  o[2] = false
end
return {'JOB', o[2], entries, job(KEYS[2])}
