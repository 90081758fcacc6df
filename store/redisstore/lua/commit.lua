-- commit: append one transition. The ordinary one touches the execution's own
-- keys alone: it neither renews the lease nor moves the timer.
-- include mail
-- include standing
-- include chain
-- include expect
-- KEYS  1 execution (hash)  2 history (list)  3 mail (list)  4 timers (zset)
--       and where the index is named: 5 index to leave  6 index to join (zsets)
-- ARGV  1 id  2 epoch:nonce  3 epoch  4 previous commit  5 this commit
--       6 'C' continue, 'P' park, 'E' end
--       7 wake-up (ms), or '' where the lease is kept
--       8 mails absorbed  9 history entry, or ''  10 outbox, or ''
--       11 status, or ''  12 index to join, or ''  13 index to leave, or ''
--       14 '1' to delete all frames but the root's and those set, or ''
--       15 number of fields to set
--       16.. field, value, field, value, ... then fields to delete
-- returns {'OK', mails absorbed, mails after those}
--         {'MAIL', mails absorbed, mails after those}  nothing was written
--         {'LOST'}             the lease is somebody else's
--         {'CONFLICT'}         the chain has gone on without this commit
--         {'INVALID', reason}  it does not fit what is stored
local x = redis.call('HMGET', KEYS[1], 'n', 'c', 'mn', 'mt', 'o')
local absorbed = tonumber(ARGV[8])
local posted, trimmed = tonumber(x[3] or 0), tonumber(x[4] or 0)
local last = x[2] and chain(x[2])
if last == ARGV[5] then
  -- The same commit again: its answer was lost.
  return {'OK', mail(KEYS[3], posted, trimmed, absorbed)}
end
if x[1] ~= ARGV[2] then
  return {'LOST'}
end
if last ~= ARGV[4] then
  return {'CONFLICT'}
end
if absorbed < trimmed or absorbed > posted then
  return {'INVALID', string.format('it absorbs mail up to %d, want %d to %d', absorbed, trimmed, posted)}
end
local stood, status, index
if ARGV[11] ~= '' or ARGV[12] ~= '' then
  stood = redis.call('HMGET', KEYS[1], 's', 'v')
  status, index = standing(stood[1])
  if ARGV[12] ~= '' and ARGV[13] ~= index then
    return {'INVALID', string.format('it leaves index %q, but stands in %q', ARGV[13], index)}
  end
end
if ARGV[6] ~= 'C' and posted > absorbed then
  return {'MAIL', mail(KEYS[3], posted, trimmed, absorbed)}
end

-- Nothing is written before everything is known to be writable. Of the keys
-- not looked at here, the record was read, and the history is written first.
local moves = ARGV[12] ~= '' and ARGV[12] ~= index
if absorbed > trimmed then
  expect(KEYS[3], 'list')
end
if ARGV[7] ~= '' then
  expect(KEYS[4], 'zset')
end
if moves then
  expect(KEYS[5], 'zset')
  expect(KEYS[6], 'zset')
end
local read, mails = mail(KEYS[3], posted, trimmed, absorbed)

if ARGV[9] ~= '' then
  redis.call('RPUSH', KEYS[2], ARGV[9])
end
local set = {'c', ARGV[5]}
local function put(field, value)
  set[#set + 1] = field
  set[#set + 1] = value
end
if absorbed > trimmed then
  redis.call('LTRIM', KEYS[3], absorbed - trimmed, -1)
  put('mt', ARGV[8])
end
if ARGV[10] ~= '' then
  put('o', ARGV[10])
elseif x[5] then
  redis.call('HDEL', KEYS[1], 'o')
end
if stood then
  put('s', (ARGV[11] ~= '' and ARGV[11] or status) .. '\n' .. (moves and ARGV[12] or index))
end
if moves then
  redis.call('ZREM', KEYS[5], ARGV[1])
  redis.call('ZADD', KEYS[6], string.match(stood[2], '^%S+ (%d+)'), ARGV[1])
end
if ARGV[6] == 'E' then
  put('z', '1')
end
if ARGV[7] ~= '' then
  put('n', ARGV[3] .. ':')
  put('w', ARGV[7])
  redis.call('ZADD', KEYS[4], ARGV[7], ARGV[1])
end
local fields = tonumber(ARGV[15])
for i = 16, 15 + 2 * fields do
  set[#set + 1] = ARGV[i]
end
if ARGV[14] ~= '' then
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, 2) == 'f:' and field ~= 'f:' then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
-- A Lua call takes some thousands of arguments; long commits go in slices.
for i = 1, #set, 1000 do
  redis.call('HSET', KEYS[1], unpack(set, i, math.min(i + 999, #set)))
end
for i = 16 + 2 * fields, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
end
return {'OK', read, mails}
