-- ARGV: time, begin of the ids, most. Returns the ages in seconds of up to so many page records
-- that are not ingested yet and whose ids begin so.
local SCANNED = 5000
local begin, most = ARGV[2], tonumber(ARGV[3])
local ages = {}
for _, id in ipairs(redis.call('ZRANGE', root .. ':look:ingest', 0, SCANNED - 1)) do
  if #ages >= most then break end
  if string.sub(id, 1, #begin) == begin then
    local m = load(id)
    if m and m[STATE] ~= 'dead' then ages[#ages + 1] = string.format('%.6f', now - m[ENTERED]) end
  end
end
return ages
