-- Included by scripts that look at the format of an execution.
-- version(v): the format version in the field v, which holds
-- "<version> <start> <match>".
local function version(v)
  return string.match(v, '^%S+')
end
