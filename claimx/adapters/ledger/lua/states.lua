-- ARGV: time, ids. Returns {id, state} for each that is there.
local found = {}
fetch(every(2, 1))
for at = 2, #ARGV do
  local m = load(ARGV[at])
  if m then
    found[#found + 1] = ARGV[at]
    found[#found + 1] = m[STATE]
  end
end
return found
