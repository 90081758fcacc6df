-- open: take the lease on an execution that has something to do. Of one that it
-- refuses it puts the timer right, which is but a hint.
-- include now
-- include gone
-- include mail
-- include opening
-- KEYS  1 execution (hash)  2 mail (list)  3 timers (zset)
--       4 tombstones (zset)
-- ARGV  1 id  2 format version  3 nonce  4 lease in ms
-- returns {'OPEN', now, epoch, commit, openings, status, match, index, ended,
--          meta, root frame, outbox, start, mails absorbed, mails}
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
if x[1] ~= ARGV[2] then
  return {'VERSION', x[1]}
end
local held, wake = tonumber(x[2]), tonumber(x[8])
local posted, trimmed = tonumber(x[3] or 0), tonumber(x[4] or 0)
local read, mails
if x[6] == ARGV[3] then
  -- The same opening again: its answer was lost.
  read, mails = mail(KEYS[2], posted, trimmed, trimmed)
else
  if held > at then
    redis.call('ZADD', KEYS[3], held, ARGV[1])
    return {'HELD', held}
  end
  if x[5] and not x[15] and wake ~= 0 then
    if wake > at then
      redis.call('ZADD', KEYS[3], wake, ARGV[1])
    end
    return {'ENDED', wake}
  end
  if wake > at and posted == trimmed then
    redis.call('ZADD', KEYS[3], wake, ARGV[1])
    return {'WAIT', wake}
  end
  read, mails = mail(KEYS[2], posted, trimmed, trimmed)
  held = string.format('%.0f', at + tonumber(ARGV[4]))
  redis.call('ZADD', KEYS[3], held, ARGV[1])
  take(KEYS[1], x, ARGV[3], held)
end
return opening(x, at, read, mails)
