-- audited: list the records of a subject, the newest first.
-- include now
-- KEYS  1 the subject's records, by their numbers (zset)
--       2 what they say (hash)
-- ARGV  1 the highest number, or ( and the one after it
--       2 how many at least, if there are so many
-- returns {record, number, kept until, when it was added, body, record, ...}
local at, limit = now(), tonumber(ARGV[2])
local list, offset = {}, 0
repeat
  local all = redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', offset, limit)
  local ids = {}
  for i = 1, #all, 2 do
    ids[#ids + 1] = all[i]
  end
  local said = #ids > 0 and redis.call('HMGET', KEYS[2], unpack(ids)) or {}
  for i, id in ipairs(ids) do
    local till, when, body = string.match(said[i] or '', '^(%d+) (%d+) (.*)$')
    if till and tonumber(till) > at then
      for _, v in ipairs({id, all[2 * i], till, when, body}) do
        list[#list + 1] = v
      end
    end
  end
  offset = offset + limit
until #ids < limit or #list >= 5 * limit
return list
