-- Included by scripts that look at an execution's status.
-- standing(s): the status and the index in the field s, one a line.
local function standing(s)
  return string.match(s, '^([^\n]*)\n(.*)$')
end
