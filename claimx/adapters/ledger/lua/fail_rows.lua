-- ARGV: time, failure, category, error, tail of the history's entry, {entry, id, lease} a record.
-- Returns how many were held and are settled.
local settled = 0
for at = 6, #ARGV, 3 do
  local entry, id = ARGV[at], ARGV[at + 1]
  local got = redis.call('HMGET', record(id), 'm', 'h')
  local m = got[1] and cmsgpack.unpack(got[1])
  if held(m, 'write', ARGV[at + 2]) then
    settled = settled + 1
    if m[ENTRY] == entry then m[ENTRY] = '' end
    bury(id, m, got[2], ARGV[2], ARGV[3], ARGV[4], ARGV[5], '')
  end
  if entry ~= '' then gone[#gone + 1] = entry end
end
flush()
return settled
