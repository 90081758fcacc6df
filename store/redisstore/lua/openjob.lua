-- openjob: take the lease on a subject, for a job that is new there, or for the
-- one that has not ended.
-- include now
-- include expect
-- include fence
-- include job
-- KEYS  1 the subject's job that has not ended, and its lease (hash)
--       2 the job (hash)  3 the journal (hash)  4 the subject's jobs (zset)
--       5 those that have ended, by until when they are kept (zset)
--       6 last fence (string)  7 subjects with jobs (zset)
-- ARGV  1 subject  2 job  3 owner  4 token  5 lease in ms  6 spec
--       7 '1' takes up a job that is there, and makes none
-- returns {'OPEN', now, lease expiry, entries, the job}
--         {'HELD', job, owner, since, lease expiry}  somebody holds the lease
--         {'OTHER', job, owner, since}  another job has not ended
--         {'ENDED', status, when}       the job has
--         {'SPEC'}      the job has another spec
--         {'LOST'}      the opening was given back
--         {'MISSING'}   there is nothing to take up
local at = now()
local o = redis.call('HMGET', KEYS[1], 'i', 'o', 's', 'u', 't')
local x = redis.call('HMGET', KEYS[2], 'sp', 'x', 'st', 'e', 'ct')
local entries = redis.call('HLEN', KEYS[3])
if x[2] and tonumber(x[2]) > at then
  return {'ENDED', x[3], x[4]}
end
local this, again = o[1] == ARGV[2], false
local held = o[4] and tonumber(o[4]) > at
if o[1] and not this then
  if held then
    return {'HELD', o[1], o[2], o[3], o[4]}
  end
  return {'OTHER', o[1], o[2], o[3]}
elseif this then
  if ARGV[6] ~= (x[1] or '') and not (ARGV[6] == '' and ARGV[7] == '1') then
    return {'SPEC'}
  end
  again = o[5] == ARGV[4]
  if not again and x[5] == ARGV[4] then
    return {'LOST'}
  end
  if held and not again then
    return {'HELD', o[1], o[2], o[3], o[4]}
  end
elseif ARGV[7] == '1' then
  return {'MISSING'}
end
local lease = at + tonumber(ARGV[5])
local since = string.format('%.0f', at)
if again then
  lease = math.max(lease, tonumber(o[4]))
  redis.call('HSET', KEYS[1], 'u', string.format('%.0f', lease))
  redis.call('HSET', KEYS[2], 't', since)
  return {'OPEN', at, lease, entries, job(KEYS[2])}
end
local f = fence(KEYS[6], at)
if not this then
  for i = 4, 7 do
    if i ~= 6 then
      expect(KEYS[i], 'zset')
    end
  end
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[2], 'c', since, 'sp', ARGV[6])
  redis.call('ZREM', KEYS[5], ARGV[2])
  redis.call('ZADD', KEYS[4], since, ARGV[2])
  redis.call('PERSIST', KEYS[4])
  redis.call('PERSIST', KEYS[5])
  redis.call('ZADD', KEYS[7], 0, ARGV[1])
end
redis.call('SET', KEYS[6], f)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'i', ARGV[2], 'f', f, 't', ARGV[4], 'o', ARGV[3], 's', since,
  'u', string.format('%.0f', lease))
redis.call('HSET', KEYS[2], 'o', ARGV[3], 'f', f, 's', since, 't', since)
redis.call('HINCRBY', KEYS[2], 'n', 1)
redis.call('HDEL', KEYS[2], 'st')
return {'OPEN', at, lease, entries, job(KEYS[2])}
