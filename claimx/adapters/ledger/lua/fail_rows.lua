-- ARGV: time, failure, category, error, tail of the history's entry, {entry, id, lease} a record.
-- Returns how many were held and are settled.
local settled = 0
local ids = every(7, 3)
fetch(ids)
local histories = texts('history', ids)
for n, id in ipairs(ids) do
  local at = 3 + 3 * n
  local entry = ARGV[at]
  local m = load(id)
  if held(m, 'write', ARGV[at + 2]) then
    settled = settled + 1
    if m[ENTRY] == entry then m[ENTRY] = '' end
    bury(id, m, histories[n], ARGV[2], ARGV[3], ARGV[4], ARGV[5], '')
  end
  if entry ~= '' then gone[#gone + 1] = entry end
end
flush()
return settled
