-- Stores a payload, or keeps the one that is there for longer, if it was to go
-- sooner. One that is there for good stays so. Of Redis 6.2.
--
-- KEYS[1]  the payload
-- ARGV[1]  its bytes
-- ARGV[2]  for how long it is kept, in milliseconds
-- returns  1 if it was stored, 0 if it was there

if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 1
end
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
