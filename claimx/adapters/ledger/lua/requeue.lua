-- ARGV: time, stage (empty: the record's own), the call, ids. Returns how many went back.
local wanted = ARGV[2]
local told = root .. ':requeued:' .. ARGV[3]
-- a client that repeats its call after a broken connection is told the same: those are its own
local before = redis.call('GET', told)
if before then return tonumber(before) end
local back = 0
local open = {
  page = { ingest = true },
  event = { enrich = true, write = true },
  media = { download = true, upload = true, record = true, write = true },
}
local first = { page = 'ingest', event = 'enrich', media = 'download' }

-- The stage to go to, nil when the record has no business in the one that was asked for. An event
-- that died at ingest holds a source row, so there is no other place for it.
local function target(id, m)
  local kind, stage = m[KIND], wanted
  if kind == 'event' and m[STAGE] == 'ingest' then
    return (stage == '' or stage == 'ingest') and 'ingest' or nil
  end
  if stage == '' then stage = kind == 'media' and 'download' or m[STAGE] end
  if not open[kind][stage] then return nil end
  -- rows of a record that died at the writer were kept; of another there are none to write
  if stage == 'write' and (m[STAGE] ~= 'write' or redis.call('HSTRLEN', part_key('rows'), id) == 0) then
    return first[kind]
  end
  return stage
end

local ids = every(4, 1)
fetch(ids)
local histories = texts('history', ids)
for n, id in ipairs(ids) do
  local m = load(id)
  local stage = m and m[STATE] == 'dead' and target(id, m)
  if stage then
    local history = noted(m, histories[n], 'requeued', ',"to":"' .. stage .. '"')
    resurrect(id, m, stage)
    m[REPLAYS] = m[REPLAYS] + 1
    -- who was asked for a new file and got nowhere is still to bring one
    if m[KIND] == 'media' and stage ~= 'write' and m[FRESH] ~= 1 then
      m[FRESH] = stage == 'download' and 1 or 2
    end
    place(m, 1)
    if stage == 'write' then
      enlist(id, m)
      look(stage, id, now + GRACE)
    else
      look(stage, id, now)
      drop('rows', id)
    end
    drop('failure', id)
    save(id, m)
    put('history', id, history)
    count(m[KIND] .. '.requeued', 1)
    back = back + 1
  end
end
flush()
if back > 0 then redis.call('SET', told, back, 'EX', 300) end
return back
