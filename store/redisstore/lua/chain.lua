-- Included by scripts that look at where an execution's chain of commits stands.
-- chain(c): the last commit, and the openings since, of the field c, which holds
-- "<commit>", or "<commit> <openings>" where there were any.
local function chain(c)
  local commit, openings = string.match(c, '^(%S+) ?(%d*)$')
  return commit, tonumber(openings) or 0
end
