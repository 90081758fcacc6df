-- due: list the executions of one partition whose wake-up has come, and hide
-- them for a while. Nothing is removed: whoever rings them may die.
-- include now
-- KEYS  1 timers (zset)
-- ARGV  1 how many at most  2 how long to hide them, in ms
-- returns {id, id, ...}
local at = now()
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'LIMIT', 0, ARGV[1])
if #ids > 0 then
  local hidden = at + tonumber(ARGV[2])
  local args = {}
  for i, id in ipairs(ids) do
    args[2 * i - 1] = hidden
    args[2 * i] = id
  end
  redis.call('ZADD', KEYS[1], unpack(args))
end
return ids
