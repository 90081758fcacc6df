-- Included by scripts that write to several keys. A failing call does not roll
-- back what came before it, so a wrong type must be found before the first
-- write: by reading the key, by writing to it first, or by this.
-- expect(key, kind): fails unless the key is missing or of that kind.
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    error('WRONGTYPE ' .. key .. ' holds a ' .. found .. ', want a ' .. kind)
  end
end
