-- forget: give a claim back. The highest attempt that was seen stays.
-- KEYS  1 record (hash)
-- ARGV  1 token
-- returns 1 given back, 0 not the token's, or completed
local r = redis.call('HMGET', KEYS[1], 't', 'r', 'a')
if r[1] ~= ARGV[1] or r[2] then
  return 0
end
if r[3] then
  redis.call('HDEL', KEYS[1], 't', 'u', 'b')
else
  redis.call('DEL', KEYS[1])
end
return 1
