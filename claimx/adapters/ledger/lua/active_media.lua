-- ARGV: time, ids. Returns those that are active: there, and no dead letters.
local found = {}
fetch_first(every(2, 1))
for at = 2, #ARGV do
  local m = glance(ARGV[at])
  if m and m[STATE] ~= 'dead' then found[#found + 1] = ARGV[at] end
end
return found
