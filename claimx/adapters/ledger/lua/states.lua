-- ARGV: time, ids. Returns {id, state} for each that is there.
local found = {}
fetch_first(every(2, 1))
for at = 2, #ARGV do
  local m = glance(ARGV[at])
  if m then
    found[#found + 1] = ARGV[at]
    found[#found + 1] = m[STATE]
  end
end
return found
