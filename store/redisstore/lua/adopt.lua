-- adopt: record a namespace's format and partition count at its first use.
-- KEYS  1 settings (hash)
-- ARGV  1 format version  2 partitions, or '' to record nothing
-- returns {format version, partitions} as recorded
if ARGV[2] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'format', ARGV[1], 'partitions', ARGV[2])
end
return redis.call('HMGET', KEYS[1], 'format', 'partitions')
