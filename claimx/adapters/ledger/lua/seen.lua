-- ARGV: time, ids. Returns those that are remembered.
local found = {}
for at = 2, #ARGV do
  if remembered(ARGV[at]) then found[#found + 1] = ARGV[at] end
end
return found
