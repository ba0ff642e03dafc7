-- ARGV: time, cursor, after, until, rows that are left (empty: forget the gap), name of its reader.
-- Returns 1, or 0 when the gap is not there or was extended.
local gaps = root .. ':gaps:' .. ARGV[2]
local kept = redis.call('HGET', gaps, ARGV[3])
if not kept or string.match(kept, '^%S+') ~= ARGV[4] then return 0 end
if ARGV[5] ~= '' then
  redis.call('HSET', gaps, ARGV[3], ARGV[4] .. ' ' .. ARGV[5])
else
  redis.call('HDEL', gaps, ARGV[3])
  redis.call('DEL', root .. ':cursor:' .. ARGV[6])
end
return 1
