-- release: give a lease back without a transition. An opening to which nothing
-- was committed is taken back: its epoch is given again, and it does not count
-- as one that came to nothing.
-- include now
-- include lease
-- include chain
-- KEYS  1 execution (hash)  2 timers (zset)
-- ARGV  1 id  2 epoch:nonce  3 next wake-up in ms from now
-- returns {'OK'}
--         {'LOST'}  the lease is somebody else's
local x = redis.call('HMGET', KEYS[1], 'n', 'c')
if x[1] ~= ARGV[2] then
  return {'LOST'}
end
local wake = string.format('%.0f', now() + tonumber(ARGV[3]))
local epoch = lease(x[1])
local commit, openings = chain(x[2])
if openings > 0 then
  epoch, openings = epoch - 1, openings - 1
end
redis.call('ZADD', KEYS[2], wake, ARGV[1])
redis.call('HSET', KEYS[1], 'n', epoch .. ':', 'w', wake,
  'c', openings > 0 and commit .. ' ' .. openings or commit)
return {'OK'}
