-- Included by scripts that meet mail which came before its execution. It lies in
-- the execution's own keys; the record holds its numbers, in y the deadlines of
-- those mails that are on the list, and nothing else yet.
-- early(y, at): how many of the first mails are past their deadlines, the other
-- deadlines, and the last of these.
local function early(y, at)
  local over, left, last = 0, {}, 0
  for deadline in string.gmatch(y, '%d+') do
    if #left == 0 and tonumber(deadline) <= at then
      over = over + 1
    else
      left[#left + 1] = deadline
      last = math.max(last, tonumber(deadline))
    end
  end
  return over, left, last
end
