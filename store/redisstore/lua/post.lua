-- post: append mail, and wake the execution: at once where nobody holds it,
-- else no later than the lease's expiry. The holder learns of it by its next
-- commit or renewal. Where a nonce is given, an execution that nobody holds is
-- opened instead of woken. Early mail waits for an execution that is missing.
-- include now
-- include gone
-- include mail
-- include version
-- include lease
-- include chain
-- include opening
-- include expect
-- include early
-- KEYS  1 execution (hash)  2 mail (list)  3 ids of mail seen (zset)
--       4 timers (zset)  5 tombstones (zset)
-- ARGV  1 id  2 format version  3 mail id  4 body  5 limit of unread mail
--       6 ids to remember  7 nonce, or ''  8 lease in ms
--       9 how long it waits for an execution that is missing, in ms, or 0
-- returns {'OK'}
--         {'OPEN', ...}  and opened: what open returns
--         {'SEEN'}       mail of this id came before
--         {'VERSION', version}      written in another format
--         {'FULL'}  {'ENDED'}  {'GONE'}  {'MISSING'}
local at = now()
local opens = ARGV[7] ~= ''
local x = opens and record(KEYS[1]) or redis.call('HMGET', KEYS[1], 'v', 'n', 'mn', 'mt', 'z', 'w')
local posted, trimmed = tonumber(x[3] or 0), tonumber(x[4] or 0)
if not x[1] then
  if gone(KEYS[5], ARGV[1], at) then
    return {'GONE'}
  end
  if ARGV[9] == '0' then
    return {'MISSING'}
  end
  local over, left, last = early(redis.call('HGET', KEYS[1], 'y') or '', at)
  local seen = redis.call('ZSCORE', KEYS[3], ARGV[3])
  if seen and tonumber(seen) > trimmed + over then
    return {'SEEN'}
  end
  if #left >= tonumber(ARGV[5]) then
    return {'FULL'}
  end
  expect(KEYS[2], 'list')
  if #left == 0 then
    redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
    posted, trimmed = 0, 0
  elseif over > 0 then
    trimmed = trimmed + over
    redis.call('LTRIM', KEYS[2], over, -1)
  end
  local deadline = at + tonumber(ARGV[9])
  left[#left + 1] = string.format('%.0f', deadline)
  posted = posted + 1
  redis.call('RPUSH', KEYS[2], ARGV[4])
  redis.call('ZADD', KEYS[3], posted, ARGV[3])
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[6]))
  redis.call('HSET', KEYS[1], 'mn', posted, 'mt', trimmed, 'y', table.concat(left, ' '))
  -- The deadlines decide. The times to live are a courtesy to memory, and the
  -- record's is the longest, because it tells what the other keys hold.
  local ttl = math.max(deadline, last) - at + 60000
  redis.call('PEXPIRE', KEYS[2], string.format('%.0f', ttl))
  redis.call('PEXPIRE', KEYS[3], string.format('%.0f', ttl))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl + 60000))
  return {'OK'}
end
if version(x[1]) ~= ARGV[2] then
  return {'VERSION', version(x[1])}
end
local epoch, held = lease(x[2])
if redis.call('ZSCORE', KEYS[3], ARGV[3]) then
  if opens and x[2] == epoch .. ':' .. ARGV[7] then
    -- The same delivery again: its answer was lost.
    return opening(x, at, mail(KEYS[2], posted, trimmed, trimmed))
  end
  return {'SEEN'}
end
if x[5] then
  return {'ENDED'}
end
if posted - trimmed >= tonumber(ARGV[5]) then
  return {'FULL'}
end
posted = posted + 1
local due = held and math.max(at, tonumber(x[6])) or at
local timer = redis.call('ZSCORE', KEYS[4], ARGV[1])
redis.call('RPUSH', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], posted, ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[6]))
if opens and due == at then
  local expiry = string.format('%.0f', at + tonumber(ARGV[8]))
  redis.call('ZADD', KEYS[4], expiry, ARGV[1])
  take(KEYS[1], x, ARGV[7], expiry, 'mn', posted)
  if posted - trimmed == 1 then
    return opening(x, at, trimmed, {ARGV[4]})
  end
  return opening(x, at, mail(KEYS[2], posted, trimmed, trimmed))
end
redis.call('HSET', KEYS[1], 'mn', posted)
if not timer or tonumber(timer) > due then
  redis.call('ZADD', KEYS[4], due, ARGV[1])
end
return {'OK'}
