-- additems: add a page of items to an audit record.
-- include now
-- KEYS  1 what the subject's records say (hash)  2 the pages of items (hash)
-- ARGV  1 record  2 page  3 items
-- returns {'OK'}
--         {'EXISTS'}   the page is there, with other items
--         {'MISSING'}  the record is not there
local at = now()
local x = redis.call('HGET', KEYS[1], ARGV[1])
local old = redis.call('HGET', KEYS[2], ARGV[2])
local till = tonumber(x and string.match(x, '^%d+') or 0)
if till <= at then
  return {'MISSING'}
end
if old then
  return {old == ARGV[3] and 'OK' or 'EXISTS'}
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], string.format('%.0f', till - at + 60000))
return {'OK'}
