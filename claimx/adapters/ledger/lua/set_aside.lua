-- ARGV: time, cursor, expected version (0: none) and time, fence, after, until, rows, how many gaps
-- are kept at most, common part of the names of the cursors that read gaps.
-- Returns {time, version}, or false when another was faster.
local key = root .. ':cursor:' .. ARGV[2]
local gaps = root .. ':gaps:' .. ARGV[2]
local after, till = ARGV[6], ARGV[7]
local stored = redis.call('HMGET', key, 'time', 'version', 'fence')
local version, fence = tonumber(stored[2] or '0'), tonumber(stored[3] or '0')
if version ~= tonumber(ARGV[3]) or tonumber(ARGV[5]) < fence then return false end
if version > 0 and stored[1] ~= ARGV[4] then return false end -- see store_page

local function reader(from) return root .. ':cursor:' .. ARGV[10] .. from end

-- The kept gap that this one goes into, if any: one that begins with it, or the newest of too many.
local function host()
  if redis.call('HEXISTS', gaps, after) == 1 then return after end
  if redis.call('HLEN', gaps) < tonumber(ARGV[9]) then return nil end
  local newest
  for _, from in ipairs(redis.call('HKEYS', gaps)) do
    if not newest or tonumber(from) > tonumber(newest) then newest = from end
  end
  return newest
end

local into, left = host(), tonumber(ARGV[8])
if into then
  local ends, more = string.match(redis.call('HGET', gaps, into), '^(%S+) (%S+)$')
  left = left + tonumber(more)
  if tonumber(ends) > tonumber(till) then till = ends end
  if tonumber(into) <= tonumber(after) then
    -- its reader may be past where this gap begins, and goes back
    local at = redis.call('HMGET', reader(into), 'time', 'version')
    if at[1] and tonumber(at[1]) > tonumber(after) then
      redis.call('HSET', reader(into), 'time', after, 'version', next_version(tonumber(at[2] or '0')))
    end
    after = into
  else
    redis.call('HDEL', gaps, into)
    redis.call('DEL', reader(into))
  end
else
  redis.call('DEL', reader(after)) -- what a reader that came too late may have left of an older gap
end
redis.call('HSET', gaps, after, string.format('%s %d', till, left))

local time = ARGV[7]
if stored[1] and tonumber(stored[1]) > tonumber(time) then time = stored[1] end
version = next_version(version)
redis.call('HSET', key, 'time', time, 'version', version, 'fence', ARGV[5])
return { time, version }
