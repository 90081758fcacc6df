-- Included by scripts that show a job.
-- job(key): the fields of its record.
local function job(key)
  return redis.call('HMGET', key, 'c', 'sp', 'o', 'f', 'n', 's', 'p', 't', 'st', 'e', 'x', 'by', 'ca')
end
