-- barrier: run an effect once for an action, and once for its undo where the
-- action's is there. The effect's own script stands within. What is written
-- here is written with it, or not at all; where it fails, nothing is.
-- KEYS  1 record (hash)  2... the effect's
-- ARGV  1 do or undo  2 retention in ms  3 1 where the action is known to be done, else 0  4... the effect's
-- returns {'RUN', reply}       the effect was run
--         {'REPEATED', reply}  it was run before
--         {'EMPTY'}            an undo, and there is nothing to undo
--         {'REFUSED'}          an action after its undo
--         {'NOTRACE'}          an undo, and nothing is known of the action that is known to be done
local function effect(KEYS, ARGV, kept)
-- EFFECT
end
local r = redis.call('HMGET', KEYS[1], 'a', 'u', 'r')
local done, undone, kept = r[1], r[2], r[3]
if ARGV[1] == 'do' then
  if undone then
    return {'REFUSED'}
  end
  if done then
    return {'REPEATED', kept or ''}
  end
else
  if undone then
    return {'REPEATED', ''}
  end
  if not done then
    if ARGV[3] == '1' then
      return {'NOTRACE'}
    end
    redis.call('HSET', KEYS[1], 'u', '1')
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return {'EMPTY'}
  end
end
local keys, args = {}, {}
for i = 2, #KEYS do
  keys[i - 1] = KEYS[i]
end
for i = 4, #ARGV do
  args[i - 3] = ARGV[i]
end
local reply = effect(keys, args, kept or '')
if type(reply) == 'table' and reply.err then
  return reply
end
redis.call('HSET', KEYS[1], ARGV[1] == 'do' and 'a' or 'u', '1')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
-- As Redis answers, but in one string.
if type(reply) == 'number' then
  reply = string.format('%.0f', reply < 0 and math.ceil(reply) or math.floor(reply))
elseif type(reply) == 'table' then
  reply = reply.ok or cjson.encode(reply)
elseif type(reply) ~= 'string' then
  reply = reply and '1' or ''
end
if ARGV[1] == 'do' and reply ~= '' then
  redis.call('HSET', KEYS[1], 'r', reply)
end
return {'RUN', reply}
