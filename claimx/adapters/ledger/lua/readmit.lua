-- ARGV: time, job, fence, seconds that an event is remembered, {id, kind, stage, data, trace} a
-- record. Returns the ids admitted, or false when a greater fence has been here.
local key = root .. ':fence:' .. ARGV[2]
if tonumber(ARGV[3]) < tonumber(redis.call('GET', key) or '0') then return false end
redis.call('SET', key, ARGV[3])

local answer = {}
fetch(every(5, 5))
for at = 5, #ARGV, 5 do
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
return answer
