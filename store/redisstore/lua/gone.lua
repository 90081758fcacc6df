-- Included by scripts that may meet a purged execution.
-- gone(key, id, at): whether a tombstone stands for the id at that time.
local function gone(key, id, at)
  local until_ = redis.call('ZSCORE', key, id)
  return until_ and tonumber(until_) > at
end
