-- Included by scripts that grant locks and leases, or number what they add.
-- fence(key, at): the next fence of the partition, as text. It is above the last
-- one, whatever the clock does, and also after a failover that lost the last one,
-- for as long as the clock goes on.
local function fence(key, at)
  return string.format('%.0f', math.max(tonumber(redis.call('GET', key) or 0) + 1, at * 1000))
end
