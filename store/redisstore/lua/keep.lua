-- Included by scripts that keep something until its retention has run out.
-- keep(key, id, till, at): puts it among what is kept, by until when, and drops
-- what was kept for long enough, some of it at a time. Returns the ids of that,
-- and until when the last is kept. The key's time to live is a minute longer.
local function keep(key, id, till, at)
  local gone = redis.call('ZRANGEBYSCORE', key, '-inf', at, 'LIMIT', 0, 100)
  if #gone > 0 then
    redis.call('ZREM', key, unpack(gone))
  end
  redis.call('ZADD', key, string.format('%.0f', till), id)
  local last = tonumber(redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2])
  redis.call('PEXPIRE', key, string.format('%.0f', last - at + 60000))
  return gone, last
end
