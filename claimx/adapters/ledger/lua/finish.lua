-- ARGV: time, seconds that a completed media file is remembered, {entry, id, lease, status} a
-- record. Returns how many were held and are settled.
local seconds = tonumber(ARGV[2])
local settled = 0
local completed = {}
fetch_first(every(4, 4))
for at = 3, #ARGV, 4 do
  local entry, id, status = ARGV[at], ARGV[at + 1], ARGV[at + 3]
  local m = glance(id)
  if held(m, 'write', ARGV[at + 2]) then
    settled = settled + 1
    look('write', id, false)
    if m[ENTRY] == entry then m[ENTRY] = '' end -- acknowledged below
    unlist(m)
    if m[STATE] == 'dead' then
      m[PENDING] = 0
      free(m)
      save(id, m)
      drop('rows', id)
    else
      place(m, -1)
      remove(id)
      if m[KIND] == 'event' and status == 'unhandled' then
        count('event.unhandled', 1)
      else
        count(m[KIND] .. '.recorded', 1)
      end
      if m[KIND] == 'media' and status == 'completed' then completed[#completed + 1] = id end
    end
  end
  if entry ~= '' then gone[#gone + 1] = entry end
end
store() -- first, see there
for _, id in ipairs(completed) do remember(id, seconds) end
flush()
return settled
