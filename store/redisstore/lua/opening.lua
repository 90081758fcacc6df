-- Included by scripts that open an execution.
-- record(key): what an opening hands over, and what such a script looks at: the
-- fields in the order below. Of a missing execution the first is false.
local function record(key)
  return redis.call('HMGET', key, 'v', 'l', 'mn', 'mt', 'z', 'n', 'e', 'w', 'c',
    's', 'k', 'ix', 'h', 'f:', 'o', 'x', 'xc', 'b')
end
-- take(key, x, nonce, expiry, field, value, ...): takes the lease on the
-- execution that record returned, counts the opening, and sets other fields.
local function take(key, x, nonce, expiry, ...)
  x[7] = tonumber(x[7]) + 1
  x[16] = x[17] == x[9] and tonumber(x[16]) + 1 or 1
  redis.call('HSET', key, 'e', x[7], 'n', nonce, 'l', expiry, 'w', '0',
    'x', x[16], 'xc', x[9], ...)
end
-- opening(x, at, read, mails): the answer of a script that has opened it.
local function opening(x, at, read, mails)
  return {'OPEN', at, tonumber(x[7]), x[9], tonumber(x[16]), x[10], x[11], x[12],
    x[5] and 1 or 0, x[13], x[14], x[15] or '', tonumber(x[18]), read, mails}
end
