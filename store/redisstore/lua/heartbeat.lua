-- heartbeat: record that a worker lives, and forget those that do not.
-- include now
-- KEYS  1 workers (zset)
-- ARGV  1 worker  2 how long it is taken to live, in ms
-- returns {worker, worker, ...}
local at = now()
redis.call('ZADD', KEYS[1], at + tonumber(ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at)
return redis.call('ZRANGE', KEYS[1], 0, -1)
