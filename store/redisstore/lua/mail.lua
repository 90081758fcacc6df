-- Included by scripts that hand mail over.
-- mail(key, posted, trimmed, read): the bodies after mail number `read`, in
-- order. `posted` mails came in all, `trimmed` of them are off the list.
local function mail(key, posted, trimmed, read)
  if posted <= read then
    return {}
  end
  return redis.call('LRANGE', key, read - trimmed, -1)
end
