-- define: keep a graph, if what is there is the one that it replaces.
-- KEYS  1 definitions (hash)
-- ARGV  1 field  2 graph  3 the graph that it replaces; without it, there must be none
-- returns 1 it is there, 0 another one is
local there = redis.call('HGET', KEYS[1], ARGV[1])
if there == ARGV[2] then
  return 1
elseif there ~= (ARGV[3] or false) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
