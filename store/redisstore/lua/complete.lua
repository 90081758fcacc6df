-- complete: store the result of the work done under an idempotency key.
-- The stored time decides; the key's time to live is an hour longer.
-- include now
-- KEYS  1 record (hash)
-- ARGV  1 token  2 result  3 retention in ms
--       4 the attempt that the result is of alone, or 0
-- returns {'OK'}
--         {'LOST'}  somebody else has the claim, or has done the work
local at = now()
local r = redis.call('HMGET', KEYS[1], 't', 'u', 'r', 'a', 's')
if r[2] and tonumber(r[2]) > at then
  if r[1] ~= ARGV[1] then
    return {'LOST'}
  end
  if r[3] then
    -- The same completion again: its answer was lost.
    return {'OK'}
  end
end
local attempt = tonumber(ARGV[4])
if attempt > 0 and tonumber(r[5] or 0) > at and attempt < tonumber(r[4]) then
  -- Nobody may ask for this result.
  redis.call('HDEL', KEYS[1], 't', 'u', 'r', 'n', 'b')
  return {'OK'}
end
local expires = string.format('%.0f', at + tonumber(ARGV[3]))
if r[4] then
  redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], 't', ARGV[1], 'r', ARGV[2], 'u', expires)
if attempt > 0 then
  redis.call('HSET', KEYS[1], 'n', ARGV[4], 'a', ARGV[4], 's', expires)
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', tonumber(ARGV[3]) + 3600000))
return {'OK'}
