-- ARGV: time, ids. Returns those that are remembered.
local keys, found = {}, {}
for at = 2, #ARGV do keys[#keys + 1] = root .. ':seen:' .. ARGV[at] end
if #keys > 0 then
  for at, forgotten_at in ipairs(redis.call('MGET', unpack(keys))) do
    if forgotten_at and tonumber(forgotten_at) > now then found[#found + 1] = ARGV[at + 1] end
  end
end
return found
