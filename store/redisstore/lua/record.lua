-- record: tell how far the work of an idempotency key is, and claim nothing.
-- include now
-- KEYS  1 record (hash)
-- returns {'DONE'}    for all attempts
--         {'FAILED'}  what came of one attempt
--         {'HELD'}    somebody is at work
--         {''}        nothing is known of it
local r = redis.call('HMGET', KEYS[1], 'u', 'r', 'n')
if not r[1] or tonumber(r[1]) <= now() then
  return {''}
elseif not r[2] then
  return {'HELD'}
elseif r[3] then
  return {'FAILED'}
end
return {'DONE'}
