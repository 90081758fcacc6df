-- Included by scripts that need the time.
-- now(): milliseconds since 1970 on this server's clock.
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
