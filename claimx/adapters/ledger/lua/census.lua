-- ARGV: time, how many records a stage to look at for the oldest, stages.
-- Returns {counters, stream length, entries read and not acknowledged, {stage, seconds} a stage}.
local scan = tonumber(ARGV[2])
local ages = {}
for at = 3, #ARGV do
  local stage = ARGV[at]
  local entered = now
  local ids = redis.call('ZRANGE', root .. ':look:' .. stage, 0, scan - 1)
  fetch(ids)
  for _, id in ipairs(ids) do
    local m = load(id)
    if m and m[STATE] ~= 'dead' and m[ENTERED] < entered then entered = m[ENTERED] end
  end
  ages[#ages + 1] = stage
  ages[#ages + 1] = string.format('%.6f', now - entered)
end
local pending = redis.pcall('XPENDING', rows(), GROUP)
return { redis.call('HGETALL', root .. ':n'), redis.call('XLEN', rows()), pending.err and 0 or pending[1], ages }
