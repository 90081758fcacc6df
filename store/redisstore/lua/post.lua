-- post: append mail, and wake the execution: at once where nobody holds it,
-- else no later than the lease's expiry. The holder learns of it by its next
-- commit or renewal.
-- include now
-- KEYS  1 execution (hash)  2 mail (list)  3 ids of mail seen (zset)
--       4 timers (zset)  5 tombstones (zset)
-- ARGV  1 id  2 mail id  3 body  4 limit of unread mail  5 ids to remember
-- returns {'OK'}
--         {'SEEN'}     mail of this id came before
--         {'FULL'}  {'ENDED'}  {'GONE'}  {'MISSING'}
local x = redis.call('HMGET', KEYS[1], 'v', 'l', 'mn', 'mt', 'z', 'w')
local at = now()
if not x[1] then
  local until_ = redis.call('ZSCORE', KEYS[5], ARGV[1])
  if until_ and tonumber(until_) > at then
    return {'GONE'}
  end
  return {'MISSING'}
end
if redis.call('ZSCORE', KEYS[3], ARGV[2]) then
  return {'SEEN'}
end
if x[5] then
  return {'ENDED'}
end
local posted, trimmed = tonumber(x[3] or 0), tonumber(x[4] or 0)
if posted - trimmed >= tonumber(ARGV[4]) then
  return {'FULL'}
end
posted = posted + 1
redis.call('RPUSH', KEYS[2], ARGV[3])
redis.call('ZADD', KEYS[3], posted, ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[5]))
redis.call('HSET', KEYS[1], 'mn', posted)
local due = math.max(at, tonumber(x[2]))
local timer = redis.call('ZSCORE', KEYS[4], ARGV[1])
if not timer or tonumber(timer) > due then
  redis.call('ZADD', KEYS[4], due, ARGV[1])
end
return {'OK'}
