-- items: read a page of an audit record's items.
-- include now
-- KEYS  1 what the subject's records say (hash)  2 the pages of items (hash)
-- ARGV  1 record  2 page
-- returns {'ITEMS', pages, items or ''}
--         {'MISSING'}  the record is not there
local x = redis.call('HGET', KEYS[1], ARGV[1])
local items = redis.call('HGET', KEYS[2], ARGV[2])
if tonumber(x and string.match(x, '^%d+') or 0) <= now() then
  return {'MISSING'}
end
return {'ITEMS', redis.call('HLEN', KEYS[2]), items or ''}
