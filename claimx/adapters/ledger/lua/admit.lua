-- ARGV: time, page's id, its lease, seen seconds, number of events, {id, stage, data, trace} each,
-- then {id, stage, data, trace, failure, category, error, tail} for each row that is dead on arrival.
-- Returns {duplicates, malformed, ids...}, or false when the page's lease is lost.
local page, lease, seconds, events = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local m = load(page)
if not held(m, 'ingest', lease) then return false end

local answer = { 0, 0 }
-- The record itself is asked too: it may be older than the memory of its id.
local function new(id)
  local met = not remember(id, seconds)
  if met or load(id) then
    count('event.duplicate', 1)
    answer[1] = answer[1] + 1
    return false
  end
  return true
end

local at = 6
local ids = {}
for n = 0, events - 1 do ids[n + 1] = ARGV[at + 4 * n] end
fetch(ids)
for _ = 1, events do
  local id = ARGV[at]
  if new(id) then
    create(id, 'event', ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    answer[#answer + 1] = id
  end
  at = at + 4
end
while at <= #ARGV do
  local id = ARGV[at]
  if new(id) then
    create(id, 'event', ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    bury(id, load(id), '', ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7], '')
    answer[2] = answer[2] + 1
  end
  at = at + 8
end

place(m, -1)
count(m[KIND] .. '.recorded', 1)
look('ingest', page, false)
remove(page)
flush()
return answer
