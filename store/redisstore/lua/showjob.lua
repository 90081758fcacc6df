-- showjob: read a job.
-- include now
-- include job
-- KEYS  1 the subject's job that has not ended, and its lease (hash)
--       2 the job (hash)  3 the journal (hash)
-- ARGV  1 job
-- returns {'JOB', lease expiry, entries, the job}
--         {'MISSING'}
local o = redis.call('HMGET', KEYS[1], 'i', 'u')
local x = job(KEYS[2])
local entries = redis.call('HLEN', KEYS[3])
if not x[1] or x[11] and tonumber(x[11]) <= now() then
  return {'MISSING'}
end
if o[1] ~= ARGV[1] then -- it has ended
  return {'JOB', false, 0, x}
end
return {'JOB', o[2], entries, x}
