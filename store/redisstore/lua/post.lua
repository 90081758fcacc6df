-- post: append mail, and wake the execution: at once where nobody holds it,
-- else no later than the lease's expiry. The holder learns of it by its next
-- commit or renewal. Where a nonce is given, an execution that nobody holds is
-- opened instead of woken.
-- include now
-- include gone
-- include mail
-- include opening
-- KEYS  1 execution (hash)  2 mail (list)  3 ids of mail seen (zset)
--       4 timers (zset)  5 tombstones (zset)
-- ARGV  1 id  2 format version  3 mail id  4 body  5 limit of unread mail
--       6 ids to remember  7 nonce, or ''  8 lease in ms
-- returns {'OK'}
--         {'OPEN', ...}  and opened: what open returns
--         {'SEEN'}       mail of this id came before
--         {'VERSION', version}      written in another format
--         {'FULL'}  {'ENDED'}  {'GONE'}  {'MISSING'}
local at = now()
local opens = ARGV[7] ~= ''
local x = opens and record(KEYS[1]) or redis.call('HMGET', KEYS[1], 'v', 'l', 'mn', 'mt', 'z')
if not x[1] then
  return {gone(KEYS[5], ARGV[1], at) and 'GONE' or 'MISSING'}
end
if x[1] ~= ARGV[2] then
  return {'VERSION', x[1]}
end
local held = tonumber(x[2])
local posted, trimmed = tonumber(x[3] or 0), tonumber(x[4] or 0)
if redis.call('ZSCORE', KEYS[3], ARGV[3]) then
  if opens and x[6] == ARGV[7] then
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
local due = math.max(at, held)
local timer = redis.call('ZSCORE', KEYS[4], ARGV[1])
redis.call('RPUSH', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], posted, ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[6]))
if opens and held <= at then
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
