-- ARGV: time, cursor, after, until, rows that are left (empty: forget the gap), name of its reader,
-- and to forget it the reader's version (0: none) and time.
-- Returns 1, or 0 when the gap is not there or was extended, or its reader is elsewhere.
local gaps = root .. ':gaps:' .. ARGV[2]
local kept = redis.call('HGET', gaps, ARGV[3])
if not kept or string.match(kept, '^%S+') ~= ARGV[4] then return 0 end
if ARGV[5] ~= '' then
  redis.call('HSET', gaps, ARGV[3], ARGV[4] .. ' ' .. ARGV[5])
else
  local reader = root .. ':cursor:' .. ARGV[6]
  local at = redis.call('HMGET', reader, 'version', 'time')
  if (at[1] or '0') ~= ARGV[7] or (at[1] and at[2] ~= ARGV[8]) then return 0 end
  redis.call('HDEL', gaps, ARGV[3])
  redis.call('DEL', reader)
end
return 1
