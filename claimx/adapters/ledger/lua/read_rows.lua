-- ARGV: time, consumer, count, idle milliseconds. Returns {entry, record id} pairs.
--
-- Entries whose reader has been silent are taken over in a walk, a step a second over all writers,
-- that goes on where the last step ended. One whose record is leased by a living writer only
-- changes hands in the group's books and is not handed out, so that a slow writer keeps its work
-- for as long as it renews the lease. Readers that are silent and hold nothing are taken off the
-- group's books: each writer that starts has a new name. One that is waiting all the same is put
-- there again with the first entry that it is given.
local consumer, wanted, idle = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local answer = {}
local READERS_SECONDS = 600
local WALK_SECONDS, WALK_ENTRIES = 1, 200 -- a step looks at up to ten times as many entries

local function grouped(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err and string.find(reply.err, 'NOGROUP', 1, true) then
    redis.call('XGROUP', 'CREATE', rows(), GROUP, '0', 'MKSTREAM')
    reply = redis.pcall(...)
  end
  return reply
end

local function take(entry)
  local id = entry[2][2]
  local m = load(id)
  if m and m[LEASE] ~= '' and not has_come(m[UNTIL]) then return end
  answer[#answer + 1] = entry[1]
  answer[#answer + 1] = id
end

local function forget_readers()
  for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', rows(), GROUP)) do
    local reader = {}
    for n = 1, #flat, 2 do reader[flat[n]] = flat[n + 1] end
    if reader.pending == 0 and reader.idle > tonumber(idle) and reader.name ~= consumer then
      redis.call('XGROUP', 'DELCONSUMER', rows(), GROUP, reader.name)
    end
  end
end

local counters = root .. ':n'
local walk = redis.call('HMGET', counters, 'walk', 'walked', 'walk_readers')
-- of a clock that was set back, too: or nobody would walk for as long as that
if math.abs(now - tonumber(walk[2] or '0')) >= WALK_SECONDS then
  local from = walk[1] or '0-0'
  local stale = grouped('XAUTOCLAIM', rows(), GROUP, consumer, idle, from, 'COUNT', math.min(wanted, WALK_ENTRIES))
  if stale.err then return stale end
  redis.call('HSET', counters, 'walk', stale[1], 'walked', string.format('%.3f', now))
  for _, entry in ipairs(stale[2]) do
    if entry and entry[2] then take(entry) end
  end
  if math.abs(now - tonumber(walk[3] or '0')) >= READERS_SECONDS then
    forget_readers()
    redis.call('HSET', counters, 'walk_readers', string.format('%.3f', now))
  end
end

local left = wanted - #answer / 2
if left > 0 then
  local new = grouped('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', left, 'STREAMS', rows(), '>')
  if new and new.err then return new end
  for _, entry in ipairs(new and new[1][2] or {}) do
    answer[#answer + 1] = entry[1]
    answer[#answer + 1] = entry[2][2]
  end
end
return answer
