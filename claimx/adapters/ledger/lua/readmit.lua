-- ARGV: time, job, fence, seconds that an event is remembered, the call, {id, kind, stage, data,
-- trace} a record. Returns the ids admitted, or false when a greater fence has been here.
local key = root .. ':fence:' .. ARGV[2]
local told = root .. ':readmitted:' .. ARGV[2]
-- who repeats a call, since no answer came, is told the same: those are its own
if redis.call('LINDEX', told, 0) == ARGV[5] then return redis.call('LRANGE', told, 1, -1) end
if tonumber(ARGV[3]) < tonumber(redis.call('GET', key) or '0') then return false end
redis.call('SET', key, ARGV[3])

local answer = {}
fetch(every(6, 5))
for at = 6, #ARGV, 5 do
  local id, kind = ARGV[at], ARGV[at + 1]
  if load(id) then
    count(kind .. '.duplicate', 1)
  else
    -- what is remembered was never finished, or is gone from the lake
    forget(id)
    if kind == 'event' then remember(id, tonumber(ARGV[4])) end
    create(id, kind, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
    answer[#answer + 1] = id
  end
end
flush()
redis.call('DEL', told)
redis.call('RPUSH', told, ARGV[5])
in_slices('RPUSH', told, answer)
redis.call('EXPIRE', told, 300)
return answer
