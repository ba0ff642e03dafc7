-- ARGV: time, seconds, {id, stage, lease} a record. Returns the ids still held.
local till = now + tonumber(ARGV[2])
local kept = {}
fetch_first(every(3, 3))
for at = 3, #ARGV, 3 do
  local id = ARGV[at]
  local m = glance(id)
  if held(m, ARGV[at + 1], ARGV[at + 2]) then
    m[UNTIL] = till
    save(id, m)
    look(ARGV[at + 1], id, till)
    kept[#kept + 1] = id
  end
end
flush()
return kept
