-- post: append mail, and wake the execution: at once where nobody holds it,
-- else no later than the lease's expiry. The holder learns of it by its next
-- commit or renewal.
-- include now
-- include gone
-- KEYS  1 execution (hash)  2 mail (list)  3 ids of mail seen (zset)
--       4 timers (zset)  5 tombstones (zset)
-- ARGV  1 id  2 format version  3 mail id  4 body  5 limit of unread mail
--       6 ids to remember
-- returns {'OK'}
--         {'SEEN'}     mail of this id came before
--         {'VERSION', version}      written in another format
--         {'FULL'}  {'ENDED'}  {'GONE'}  {'MISSING'}
local at = now()
local x = redis.call('HMGET', KEYS[1], 'v', 'l', 'mn', 'mt', 'z')
if not x[1] then
  return {gone(KEYS[5], ARGV[1], at) and 'GONE' or 'MISSING'}
end
if x[1] ~= ARGV[2] then
  return {'VERSION', x[1]}
end
if redis.call('ZSCORE', KEYS[3], ARGV[3]) then
  return {'SEEN'}
end
if x[5] then
  return {'ENDED'}
end
local posted, trimmed = tonumber(x[3] or 0), tonumber(x[4] or 0)
if posted - trimmed >= tonumber(ARGV[5]) then
  return {'FULL'}
end
posted = posted + 1
local due = math.max(at, tonumber(x[2]))
local timer = redis.call('ZSCORE', KEYS[4], ARGV[1])
redis.call('RPUSH', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], posted, ARGV[3])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[6]))
redis.call('HSET', KEYS[1], 'mn', posted)
if not timer or tonumber(timer) > due then
  redis.call('ZADD', KEYS[4], due, ARGV[1])
end
return {'OK'}
