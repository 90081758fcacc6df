-- forget: give a claim back.
-- KEYS  1 record (hash)
-- ARGV  1 token
-- returns 1 given back, 0 not the token's, or completed
local r = redis.call('HMGET', KEYS[1], 't', 'r')
if r[1] ~= ARGV[1] or r[2] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
