-- closejob: give the lease on a subject back, and end its job or not.
-- include now
-- include expect
-- include keep
-- KEYS  1 the subject's job that has not ended, and its lease (hash)
--       2 the job (hash)  3 the journal (hash)  4 the subject's jobs (zset)
--       5 those that have ended, by until when they are kept (zset)
--       6 subjects with jobs (zset)
-- ARGV  1 subject  2 job  3 fence  4 token  5 '1' ends it, '0' does not
--       6 status  7 progress, or ''  8 retention in ms
-- returns {'OK'}
--         {'ENTRIES', how many}  the journal is not empty
--         {'LOST'}  the lease is somebody else's
local at = now()
local o = redis.call('HMGET', KEYS[1], 'i', 'f', 't')
local x = redis.call('HMGET', KEYS[2], 'cl', 'ct', 'x')
local closing = ARGV[3] .. ' ' .. ARGV[5]
if o[1] ~= ARGV[2] or o[2] ~= ARGV[3] or o[3] ~= ARGV[4] then
  if x[1] == closing and x[2] == ARGV[4] and not (x[3] and tonumber(x[3]) <= at) then
    -- The same closing again: its answer was lost.
    return {'OK'}
  end
  return {'LOST'}
end
local entries = redis.call('HLEN', KEYS[3])
local stamp = string.format('%.0f', at)
if ARGV[5] ~= '1' then
  redis.call('HDEL', KEYS[1], 't', 'u', 'q')
else
  if entries > 0 then
    return {'ENTRIES', entries}
  end
  for i = 4, 6 do
    expect(KEYS[i], 'zset')
  end
  local till = at + tonumber(ARGV[8])
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[2], 'e', stamp, 'x', string.format('%.0f', till))
  redis.call('PEXPIRE', KEYS[2], string.format('%.0f', till - at + 60000))
  local gone, last = keep(KEYS[5], ARGV[2], till, at)
  if #gone > 0 then
    redis.call('ZREM', KEYS[4], unpack(gone))
  end
  redis.call('PEXPIRE', KEYS[4], string.format('%.0f', last - at + 60000))
  redis.call('ZREMRANGEBYSCORE', KEYS[6], 1, at)
  redis.call('ZADD', KEYS[6], string.format('%.0f', last), ARGV[1])
end
redis.call('HSET', KEYS[2], 'st', ARGV[6], 't', stamp, 'cl', closing, 'ct', ARGV[4])
if ARGV[7] ~= '' then
  redis.call('HSET', KEYS[2], 'p', ARGV[7])
end
return {'OK'}
