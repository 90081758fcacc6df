-- Included by scripts that open an execution, after lease and chain.
-- record(key): what an opening hands over, and what such a script looks at: the
-- fields in the order below. Of a missing execution the first is false.
local function record(key)
  return redis.call('HMGET', key, 'v', 'n', 'mn', 'mt', 'z', 'w', 'c', 's', 'h', 'f:', 'o')
end
-- take(key, x, nonce, expiry, field, value, ...): takes the lease on the
-- execution that record returned, counts the opening, and sets other fields.
local function take(key, x, nonce, expiry, ...)
  local commit, openings = chain(x[7])
  x[2] = lease(x[2]) + 1 .. ':' .. nonce
  x[7] = commit .. ' ' .. openings + 1
  redis.call('HSET', key, 'n', x[2], 'w', expiry, 'c', x[7], ...)
end
-- opening(x, at, read, mails): the answer of a script that has opened it.
local function opening(x, at, read, mails)
  local epoch = lease(x[2])
  local commit, openings = chain(x[7])
  -- It may have committed since.
  return {'OPEN', at, epoch, commit, math.max(openings, 1), x[1], x[8],
    x[5] and 1 or 0, x[9], x[10], x[11] or '', read, mails}
end
