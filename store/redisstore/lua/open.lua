-- open: take the lease on an execution that has something to do. Of one that it
-- refuses it puts the timer right, which is but a hint.
-- include now
-- include gone
-- include mail
-- include version
-- include lease
-- include chain
-- include opening
-- KEYS  1 execution (hash)  2 mail (list)  3 timers (zset)
--       4 tombstones (zset)
-- ARGV  1 id  2 format version  3 nonce  4 lease in ms
-- returns {'OPEN', now, epoch, commit, openings, version, start and match,
--          status and index, ended, meta, root frame, outbox, mails absorbed,
--          mails}
--         {'HELD', lease expiry}    somebody holds it
--         {'WAIT', wake-up}         nothing is due
--         {'ENDED', end of retention}
--         {'VERSION', version}      written in another format
--         {'GONE'}                  purged
--         {'MISSING'}               and its timer, if any, is taken off
local at = now()
local x = record(KEYS[1])
if not x[1] then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return {gone(KEYS[4], ARGV[1], at) and 'GONE' or 'MISSING'}
end
if version(x[1]) ~= ARGV[2] then
  return {'VERSION', version(x[1])}
end
local epoch, held = lease(x[2])
local due = tonumber(x[6])
local posted, trimmed = tonumber(x[3] or 0), tonumber(x[4] or 0)
local read, mails
if x[2] == epoch .. ':' .. ARGV[3] then
  -- The same opening again: its answer was lost.
  read, mails = mail(KEYS[2], posted, trimmed, trimmed)
else
  local waits = due > at
  if held and waits then
    redis.call('ZADD', KEYS[3], due, ARGV[1])
    return {'HELD', due}
  end
  if not held and x[5] and not x[11] then
    if waits then
      redis.call('ZADD', KEYS[3], due, ARGV[1])
    end
    return {'ENDED', due}
  end
  if waits and posted == trimmed then
    redis.call('ZADD', KEYS[3], due, ARGV[1])
    return {'WAIT', due}
  end
  read, mails = mail(KEYS[2], posted, trimmed, trimmed)
  local expiry = string.format('%.0f', at + tonumber(ARGV[4]))
  redis.call('ZADD', KEYS[3], expiry, ARGV[1])
  take(KEYS[1], x, ARGV[3], expiry)
end
return opening(x, at, read, mails)
