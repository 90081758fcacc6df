-- journal: read entries of a job's journal, in the order of their keys.
-- KEYS  1 the subject's job that has not ended, and its lease (hash)
--       2 the journal (hash)  3 its keys (zset)
-- ARGV  1 job  2 the key after which to begin, or ''  3 how many at most
-- returns {key, state, key, state, ...}
local first = ARGV[2] == '' and '-' or '(' .. ARGV[2]
local found = redis.call('ZRANGEBYLEX', KEYS[3], first, '+', 'LIMIT', 0, ARGV[3])
if redis.call('HGET', KEYS[1], 'i') ~= ARGV[1] or #found == 0 then
  return {}
end
local states = redis.call('HMGET', KEYS[2], unpack(found))
local list = {}
for i, key in ipairs(found) do
  list[2 * i - 1] = key
  list[2 * i] = states[i] or ''
end
return list
