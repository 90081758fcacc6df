-- release: give a lease back without a transition, and make the execution due.
-- It does not count as an opening that came to nothing.
-- include now
-- KEYS  1 execution (hash)  2 timers (zset)
-- ARGV  1 id  2 epoch  3 nonce
-- returns {'OK'}
--         {'LOST'}  the lease is somebody else's
local x = redis.call('HMGET', KEYS[1], 'e', 'n')
if x[1] ~= ARGV[2] or x[2] ~= ARGV[3] then
  return {'LOST'}
end
local at = string.format('%.0f', now())
redis.call('HSET', KEYS[1], 'n', '', 'l', '0', 'w', at, 'x', '0', 'xc', '')
redis.call('ZADD', KEYS[2], at, ARGV[1])
return {'OK'}
