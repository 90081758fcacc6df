-- Included by scripts that look at who holds an execution.
-- lease(n): the epoch, and whether somebody holds the lease, of the field n,
-- which holds "<epoch>:<nonce>".
local function lease(n)
  local epoch, nonce = string.match(n, '^(%d+):(.*)$')
  return tonumber(epoch), nonce ~= ''
end
