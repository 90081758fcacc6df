-- Included by scripts that hand mail over.
-- mail(key, posted, trimmed, read): the number of the mail before the first
-- that is handed over, and the bodies from there on, in order. `posted` mails
-- came in all, `trimmed` of them are off the list. A renewal that a commit
-- overtook may have read less than is trimmed, and gets the rest.
local function mail(key, posted, trimmed, read)
  read = math.max(read, trimmed)
  if posted <= read then
    return read, {}
  end
  return read, redis.call('LRANGE', key, read - trimmed, -1)
end
