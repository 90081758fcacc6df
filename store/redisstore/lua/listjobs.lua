-- listjobs: list the jobs of a subject, the newest first.
-- include now
-- KEYS  1 the subject's jobs (zset)
--       2 those that have ended, by until when they are kept (zset)
-- ARGV  1 how many at least, if there are so many
-- returns {job, when it was made, job, when, ...}
local gone = {}
local ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now())
for _, id in ipairs(ids) do
  gone[id] = true
end
local last = string.format('%.0f', tonumber(ARGV[1]) + #ids - 1)
local all = redis.call('ZREVRANGE', KEYS[1], 0, last, 'WITHSCORES')
local list = {}
for i = 1, #all, 2 do
  if not gone[all[i]] then
    list[#list + 1] = all[i]
    list[#list + 1] = all[i + 1]
  end
end
return list
