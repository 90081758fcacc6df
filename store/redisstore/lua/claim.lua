-- claim: take an idempotency key, unless its work was done or somebody has it.
-- Stored times decide. The key's time to live is a courtesy to memory, and a
-- minute longer: a server that is early with it takes no claim from anybody.
-- include now
-- KEYS  1 record (hash)
-- ARGV  1 token  2 lease in ms
-- returns {'CLAIMED'}
--         {'DONE', result}
--         {'BUSY'}  somebody else has it
local at = now()
local r = redis.call('HMGET', KEYS[1], 't', 'u', 'r')
if r[2] and tonumber(r[2]) > at then
  if r[3] then
    return {'DONE', r[3]}
  end
  if r[1] ~= ARGV[1] then
    return {'BUSY'}
  end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 't', ARGV[1], 'u', string.format('%.0f', at + tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[2]) + 60000))
return {'CLAIMED'}
