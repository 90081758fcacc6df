-- commit: append one transition. The ordinary one touches the execution's own
-- keys alone: it neither renews the lease nor moves the timer.
-- include mail
-- KEYS  1 execution (hash)  2 history (list)  3 mail (list)  4 timers (zset)
--       and where the index changes: 5 index to leave  6 index to join (zsets)
-- ARGV  1 id  2 epoch  3 nonce  4 previous commit  5 this commit
--       6 'C' continue, 'P' park, 'E' end  7 wake-up (ms), where not 'C'
--       8 mails absorbed  9 history entry, or ''  10 outbox, or ''
--       11 status, or ''  12 index name, or ''  13 number of fields to set
--       14.. field, value, field, value, ... then fields to delete
-- returns {'OK', mails absorbed, mails after those}
--         {'MAIL', mails absorbed, mails after those}  nothing was written
--         {'LOST'}      the lease is somebody else's
--         {'CONFLICT'}  the chain has gone on without this commit
local x = redis.call('HMGET', KEYS[1], 'e', 'n', 'c', 'mn', 'mt', 'o', 'ix')
local absorbed = tonumber(ARGV[8])
local posted, trimmed = tonumber(x[4] or 0), tonumber(x[5] or 0)
if x[3] == ARGV[5] then
  -- The same commit again: its answer was lost.
  return {'OK', absorbed, mail(KEYS[3], posted, trimmed, absorbed)}
end
if x[1] ~= ARGV[2] or x[2] ~= ARGV[3] then
  return {'LOST'}
end
if x[3] ~= ARGV[4] then
  return {'CONFLICT'}
end
local next_ = ARGV[6]
if next_ ~= 'C' and posted > absorbed then
  return {'MAIL', absorbed, mail(KEYS[3], posted, trimmed, absorbed)}
end

local set = {'c', ARGV[5]}
local function put(field, value)
  set[#set + 1] = field
  set[#set + 1] = value
end
local fields = tonumber(ARGV[13])
for i = 14, 13 + 2 * fields do
  set[#set + 1] = ARGV[i]
end
if ARGV[10] ~= '' then
  put('o', ARGV[10])
elseif x[6] then
  redis.call('HDEL', KEYS[1], 'o')
end
if ARGV[11] ~= '' then
  put('s', ARGV[11])
end
if ARGV[12] ~= '' and ARGV[12] ~= x[7] then
  put('ix', ARGV[12])
  local started = redis.call('ZSCORE', KEYS[5], ARGV[1])
  redis.call('ZREM', KEYS[5], ARGV[1])
  redis.call('ZADD', KEYS[6], started or ARGV[7], ARGV[1])
end
if absorbed > trimmed then
  redis.call('LTRIM', KEYS[3], absorbed - trimmed, -1)
  put('mt', ARGV[8])
end
if next_ ~= 'C' then
  if next_ == 'E' then
    put('z', '1')
  end
  if next_ == 'P' or ARGV[10] == '' then
    put('n', '')
    put('l', '0')
    put('w', ARGV[7])
    redis.call('ZADD', KEYS[4], ARGV[7], ARGV[1])
  end
end
-- A Lua call takes some thousands of arguments; long commits go in slices.
for i = 1, #set, 1000 do
  redis.call('HSET', KEYS[1], unpack(set, i, math.min(i + 999, #set)))
end
for i = 14 + 2 * fields, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
end
if ARGV[9] ~= '' then
  redis.call('RPUSH', KEYS[2], ARGV[9])
end
return {'OK', absorbed, mail(KEYS[3], posted, absorbed, absorbed)}
