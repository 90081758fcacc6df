-- renew: extend a lease, and hand over the mail that came meanwhile.
-- include now
-- include mail
-- KEYS  1 execution (hash)  2 mail (list)
-- ARGV  1 epoch:nonce  2 lease in ms  3 mails read
-- returns {'OK', now, mails read or absorbed, mails after those}
--         {'LOST'}  the lease is somebody else's
local x = redis.call('HMGET', KEYS[1], 'n', 'mn', 'mt')
if x[1] ~= ARGV[1] then
  return {'LOST'}
end
local at = now()
local read, mails = mail(KEYS[2], tonumber(x[2] or 0), tonumber(x[3] or 0), tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'w', string.format('%.0f', at + tonumber(ARGV[2])))
return {'OK', at, read, mails}
