-- claim: take an idempotency key, unless its work was done or somebody has it.
-- Stored times decide. The key's time to live is a courtesy to memory, and a
-- minute longer than a claim, or an hour longer than the memory of its attempts:
-- a server that is early with it takes no claim from anybody.
-- include now
-- KEYS  1 record (hash)
-- ARGV  1 token  2 lease in ms  3 attempt, or 0
--       4 how long the attempt is remembered, in ms
-- returns {'CLAIMED', the highest attempt seen before this claim}
--         {'DONE', result}  for all attempts, or for this one
--         {'STALE', the highest attempt seen}
--         {'BUSY'}  somebody else has it
local at = now()
local r = redis.call('HMGET', KEYS[1], 't', 'u', 'r', 'n', 'a', 's', 'b')
local attempt = tonumber(ARGV[3])
local seen, remembered = 0, tonumber(r[6] or 0)
if remembered > at then
  seen = tonumber(r[5])
end
if attempt > 0 then
  remembered = math.max(remembered, at + tonumber(ARGV[4]))
end
local stands = r[2] and tonumber(r[2]) > at
local held = stands and not r[3]
local before = seen
if stands and r[3] and (not r[4] or tonumber(r[4]) == attempt) then
  return {'DONE', r[3]}
elseif held and r[1] == ARGV[1] then
  before = tonumber(r[7] or 0)
elseif attempt < seen then
  return {'STALE', seen}
elseif held then
  if attempt > 0 then
    redis.call('HSET', KEYS[1], 'a', ARGV[3], 's', string.format('%.0f', remembered))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(tonumber(r[2]) + 60000, remembered + 3600000) - at))
  end
  return {'BUSY'}
end
local expires = at + tonumber(ARGV[2]) + 60000
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 't', ARGV[1], 'u', string.format('%.0f', at + tonumber(ARGV[2])))
if math.max(seen, attempt) > 0 then
  redis.call('HSET', KEYS[1], 'a', string.format('%.0f', math.max(seen, attempt)), 's', string.format('%.0f', remembered))
  if before > 0 then
    redis.call('HSET', KEYS[1], 'b', string.format('%.0f', before))
  end
  expires = math.max(expires, remembered + 3600000)
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', expires - at))
return {'CLAIMED', before}
