-- notejob: write to a job's journal, keep its progress and renew its lease. A
-- note that came before renews the lease alone.
-- include now
-- include expect
-- KEYS  1 the subject's job that has not ended, and its lease (hash)
--       2 the job (hash)  3 the journal (hash)  4 its keys (zset)
-- ARGV  1 job  2 fence  3 token  4 number of the note  5 lease in ms
--       6 progress, or ''  7 entries to set; then their keys and states, and
--       the keys of those to remove
-- returns {'NOTED', now, entries, who told it to stop, when}
--         {'LATE'}  a later note came before
--         {'LOST'}  the lease is somebody else's
local o = redis.call('HMGET', KEYS[1], 'i', 'f', 't', 'u', 'q')
if o[1] ~= ARGV[1] or o[2] ~= ARGV[2] or o[3] ~= ARGV[3] then
  return {'LOST'}
end
local number, last = tonumber(ARGV[4]), tonumber(o[5] or 0)
if number < last then
  return {'LATE'}
end
local at = now()
local told = redis.call('HMGET', KEYS[2], 'by', 'ca')
expect(KEYS[3], 'hash')
expect(KEYS[4], 'zset')
redis.call('HSET', KEYS[1], 'q', ARGV[4],
  'u', string.format('%.0f', math.max(tonumber(o[4]), at + tonumber(ARGV[5]))))
redis.call('HSET', KEYS[2], 't', string.format('%.0f', at))
if number > last then
  if ARGV[6] ~= '' then
    redis.call('HSET', KEYS[2], 'p', ARGV[6])
  end
  local first = 8 + 2 * tonumber(ARGV[7])
  if first > 8 then
    local order = {}
    for i = 8, first - 1, 2 do
      order[#order + 1] = 0
      order[#order + 1] = ARGV[i]
    end
    redis.call('HSET', KEYS[3], unpack(ARGV, 8, first - 1))
    redis.call('ZADD', KEYS[4], unpack(order))
  end
  if #ARGV >= first then
    redis.call('HDEL', KEYS[3], unpack(ARGV, first))
    redis.call('ZREM', KEYS[4], unpack(ARGV, first))
  end
end
return {'NOTED', at, redis.call('HLEN', KEYS[3]), told[1], told[2]}
