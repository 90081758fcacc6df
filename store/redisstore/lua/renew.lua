-- renew: extend a lease, and hand over the mail that came meanwhile.
-- include now
-- include mail
-- KEYS  1 execution (hash)  2 mail (list)
-- ARGV  1 epoch  2 nonce  3 lease in ms  4 mails read
-- returns {'OK', now, mails read or absorbed, mails after those}
--         {'LOST'}  the lease is somebody else's
local x = redis.call('HMGET', KEYS[1], 'e', 'n', 'mn', 'mt')
if x[1] ~= ARGV[1] or x[2] ~= ARGV[2] then
  return {'LOST'}
end
local at = now()
local read, mails = mail(KEYS[2], tonumber(x[3] or 0), tonumber(x[4] or 0), tonumber(ARGV[4]))
redis.call('HSET', KEYS[1], 'l', string.format('%.0f', at + tonumber(ARGV[3])))
return {'OK', at, read, mails}
