-- release: give a lease back without a transition. An opening to which nothing
-- was committed is taken back: its epoch is given again, and it does not count
-- as one that came to nothing.
-- include now
-- KEYS  1 execution (hash)  2 timers (zset)
-- ARGV  1 id  2 epoch  3 nonce  4 next wake-up in ms from now
-- returns {'OK'}
--         {'LOST'}  the lease is somebody else's
local x = redis.call('HMGET', KEYS[1], 'e', 'n', 'c', 'xc', 'x')
if x[1] ~= ARGV[2] or x[2] ~= ARGV[3] then
  return {'LOST'}
end
local wake = string.format('%.0f', now() + tonumber(ARGV[4]))
local epoch, openings = x[1], x[5]
if x[3] == x[4] then
  epoch, openings = epoch - 1, openings - 1
end
redis.call('ZADD', KEYS[2], wake, ARGV[1])
redis.call('HSET', KEYS[1], 'n', '', 'l', '0', 'w', wake, 'e', epoch, 'x', openings)
return {'OK'}
