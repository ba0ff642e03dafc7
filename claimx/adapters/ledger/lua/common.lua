-- What every script shares: where a record is kept and how its changes are gathered.
--
-- KEYS[1] is the common part of all keys, a hash tag; ARGV[1] is the time, empty for the server's.
-- Keys below it:
--   :record:<part>  hash of record ids -> that part of each: facts (packed, in the order below), data
--              as JSON, rows for the lake, history (a JSON object a line), failure as JSON
--   :look:<stage>  ids by the moment when the redriver should look at them
--   :dead      dead letters by the time they died
--   :rows      the lake writer's stream, entries name a record
--   :n         counters     :cursor:<name>  a checkpoint, and a note
--   :seen      slices of time: "length:number" -> hashes, "n:length:number" -> ids
--   :seen:<length>:<number>:<n>  hash of ids -> the millisecond of the slice when each is forgotten
--   :gaps:<cursor>  what the cursor has set aside: where it begins -> "where it ends, rows left"
--   :fence:<job>  the greatest fence that has readmitted for a job
--   :readmitted:<job>  the last call that did, and what it admitted; for some minutes
--   :requeued:<call>   how many it sent back; for some minutes
--
-- Parts of records, index changes and counters are gathered and written once by `flush`, and read for
-- many records at once by `fetch` and `texts`: a command costs far more than a Lua table, and so a
-- hash for each part is cheaper than one for each record. Names and numbers that many records of a
-- run share are put into text once: to make a text costs as much as a small command.

local root = KEYS[1]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] + time[2] / 1000000
end

local KIND, STAGE, STATE, DUE, LEASE, UNTIL, ATTEMPTS, TRIES, ENTRY, PENDING = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local SINCE, ADMITTED, ENTERED, LOSSES, REPLAYS, NOTES, FRESH = 11, 12, 13, 14, 15, 16, 17
local TRACE, AFFINITY, CATEGORY, ERROR = 18, 19, 20, 21
-- How they are packed, in this order: what leases and counters need (up to PENDING), and the rest.
-- A text ends with a zero byte: whoever calls sends none within.
local FIRST, REST = '<sssdsdIIsB', '<dddIIBBssss'
local ALL = FIRST .. REST

local GRACE = 5 -- seconds in which a hint that was sent is trusted to arrive
-- Nothing is due or leased further ahead (LONGEST_DELAY_SECONDS, and a second): then the clock was set
-- back, and it would wait for as long as that.
local FURTHEST = 86401
local MOST_LOSSES = 10
local MOST_NOTES = 19 -- the admission is the twentieth
local GROUP = 'writers'

local tally, moves, gone, kept = {}, {}, {}, {}

-- A table that makes what it is asked for, once.
local function memo(make)
  return setmetatable({}, {
    __index = function(made, key)
      local one = make(key)
      made[key] = one
      return one
    end,
  })
end

local digits = memo(function(number) return string.format('%d', number) end)
local scores = memo(function(moment) return string.format('%.17g', moment) end)

local function rows() return root .. ':rows' end

-- The version of a checkpoint's next move is the time, so that two pasts of a cursor, parted where an
-- older copy was put back, do not come to the same.
local function next_version(version) return math.max(version + 1, math.floor(now * 1000000)) end

local function count(name, by) tally[name] = (tally[name] or 0) + by end

local function index(name, id, score) -- score false: out of the index
  local found = moves[name]
  if not found then
    found = {}
    moves[name] = found
  end
  found[id] = score
end

local look_at = memo(function(stage) return ':look:' .. stage end)
local function look(stage, id, score) index(look_at[stage], id, score) end

local function in_slices(command, key, list)
  for from = 1, #list, 2000 do
    redis.call(command, key, unpack(list, from, math.min(from + 1999, #list)))
  end
end

-- What is known of records, by id: their facts, false where there is no record; and the rest of their
-- facts where it is still packed.
local known, rests = {}, {}
-- Whose facts are to be written; what is to be written of other parts, and then taken away.
local changed = {}
local puts = { data = {}, rows = {}, history = {}, failure = {} }
local drops = { rows = {}, failure = {} }
local removed = {} -- records

local function part_key(part) return root .. ':record:' .. part end

-- What stands in ARGV from *first*, *step* apart.
local function every(first, step)
  local found, n = {}, 0
  for at = first, #ARGV, step do
    n = n + 1
    found[n] = ARGV[at]
  end
  return found
end

-- Return a part of each of the records, false where there is none. To be asked for before it changes.
local function texts(part, ids)
  local found = {}
  for from = 1, #ids, 2000 do
    local got = redis.call('HMGET', part_key(part), unpack(ids, from, math.min(from + 1999, #ids)))
    if #ids <= 2000 then return got end
    for _, text in ipairs(got) do found[#found + 1] = text end
  end
  return found
end

-- Know the facts of these records, to be loaded.
local function fetch(ids)
  for n, facts in ipairs(texts('facts', ids)) do known[ids[n]] = facts and { struct.unpack(ALL, facts) } end
end

-- Know the first facts of these records, up to PENDING, to be glanced at: half the work.
local function fetch_first(ids)
  for n, facts in ipairs(texts('facts', ids)) do
    local id = ids[n]
    local m = facts and { struct.unpack(FIRST, facts) }
    known[id] = m
    if m then rests[id] = string.sub(facts, m[PENDING + 1]) end
  end
end

-- Return the facts of a record, nil where there is none; of some only the first may be there.
local function glance(id)
  if known[id] == nil then
    local facts = redis.call('HGET', part_key('facts'), id)
    known[id] = facts and { struct.unpack(ALL, facts) }
  end
  return known[id] or nil
end

-- Return all facts of a record, nil where there is none.
local function load(id)
  local m = glance(id)
  if rests[id] then
    for n, fact in ipairs({ struct.unpack(REST, rests[id]) }) do m[PENDING + n] = fact end
    rests[id] = nil
  end
  return m
end

local function rest_of(id, m) return rests[id] or struct.pack(REST, unpack(m, SINCE, ERROR)) end

local function save(id, m)
  known[id] = m
  changed[#changed + 1] = id
end

local function put(part, id, text)
  local list = puts[part]
  list[#list + 1] = id
  list[#list + 1] = text
end

-- What is to be dropped was not put since the last `store`, which does this first.
local function drop(part, id) drops[part][id] = true end

-- Take a whole record away for good that is no dead letter, and so has no failure. A script that
-- takes one away puts nothing of it before.
local function remove(id)
  known[id], rests[id] = false, nil
  removed[#removed + 1] = id
end

-- Write what was gathered of records. What is taken away goes first: a Redis that is full lets a
-- script write whatever it needs once it has deleted something.
local function store()
  for _, part in ipairs({ 'facts', 'data', 'rows', 'history' }) do in_slices('HDEL', part_key(part), removed) end
  removed = {}
  for part, ids in pairs(drops) do
    local list = {}
    for id in pairs(ids) do list[#list + 1] = id end
    in_slices('HDEL', part_key(part), list)
    drops[part] = {}
  end
  local facts = {}
  for _, id in ipairs(changed) do
    if known[id] then
      facts[#facts + 1] = id
      local m = known[id]
      facts[#facts + 1] = rests[id] and struct.pack(FIRST, unpack(m, 1, PENDING)) .. rests[id]
        or struct.pack(ALL, unpack(m, 1, ERROR))
    end
  end
  changed = {}
  in_slices('HSET', part_key('facts'), facts)
  for part, list in pairs(puts) do
    in_slices('HSET', part_key(part), list)
    puts[part] = {}
  end
end

-- Return a part of one record, as this script has left it.
local function text(part, id)
  store()
  return redis.call('HGET', part_key(part), id)
end

local function flush()
  store()
  for slice, by in pairs(kept) do
    redis.call('HINCRBY', root .. ':seen', string.format('n:%d:%d', slice[1], slice[2]), by)
  end
  for name, by in pairs(tally) do
    if by ~= 0 then redis.call('HINCRBY', root .. ':n', name, by) end
  end
  for name, ids in pairs(moves) do
    local add, drop = {}, {}
    for id, score in pairs(ids) do
      if score then
        add[#add + 1] = scores[score]
        add[#add + 1] = id
      else
        drop[#drop + 1] = id
      end
    end
    in_slices('ZADD', root .. name, add)
    in_slices('ZREM', root .. name, drop)
  end
  for from = 1, #gone, 2000 do
    local slice = { unpack(gone, from, math.min(from + 1999, #gone)) }
    redis.call('XACK', rows(), GROUP, unpack(slice))
    redis.call('XDEL', rows(), unpack(slice))
  end
end

local of_kind = memo(function(kind) return 'k:' .. kind end)
local of_state = memo(function(stage)
  return memo(function(state) return 's:' .. stage .. ':' .. state end)
end)
local of_attempts = memo(function(stage)
  return memo(function(attempts) return 'a:' .. stage .. ':' .. attempts end)
end)

-- Count a record in (by = 1) or out (by = -1) of where it stands.
local function place(m, by)
  if m[STATE] == 'dead' then
    count('d:' .. m[KIND], by)
  else
    count(of_kind[m[KIND]], by)
    count(of_state[m[STAGE]][m[STATE]], by)
    count(of_attempts[m[STAGE]][m[ATTEMPTS]], by)
  end
end

-- A history's entry, from its stage, what happened and the JSON members that follow.
local lines = memo(function(stage)
  return memo(function(what)
    local head = string.format('{"at":%.3f,"stage":"%s","what":"%s"', now, stage, what)
    return memo(function(tail) return head .. tail .. '}' end)
  end)
end)

-- Return the history with one entry more and the oldest dropped; *tail* is JSON members.
local function noted(m, history, what, tail)
  local line = lines[m[STAGE]][what][tail or '']
  if m[NOTES] >= MOST_NOTES then
    history = string.sub(history, string.find(history, '\n', 1, true) + 1)
  else
    m[NOTES] = m[NOTES] + 1
  end
  return (history and history ~= '') and (history .. '\n' .. line) or line
end

local function free(m)
  m[LEASE] = ''
  m[UNTIL] = 0
end

-- Take the record's entry off the stream.
local function unlist(m)
  if m[ENTRY] ~= '' then
    gone[#gone + 1] = m[ENTRY]
    m[ENTRY] = ''
  end
end

local function enlist(id, m) m[ENTRY] = redis.call('XADD', rows(), '*', 'i', id) end

local function has_come(moment) return moment <= now or moment >= now + FURTHEST end

-- Say whether the lease that came with an outcome is still the record's.
local function held(m, stage, lease)
  if not m or lease == '' or m[LEASE] ~= lease then return false end
  if m[STATE] == 'dead' then return stage == 'write' and m[PENDING] == 1 end
  return m[STATE] == 'leased' and m[STAGE] == stage
end

-- Into a stage with everything that is counted in a stage begun anew; due after *delay*.
local function enter(m, stage, delay)
  m[STAGE], m[STATE], m[DUE], m[ENTERED] = stage, 'ready', now + delay, now
  m[ATTEMPTS], m[SINCE], m[LOSSES], m[PENDING] = 0, 0, 0, 0
  free(m)
end

-- Ids that are remembered lie in slices of time by when they are forgotten, each half as long as an
-- id is remembered, so that a slice goes as a whole. In a slice they are shared out over hashes small
-- enough for Redis to pack: a third of the memory that a key for each would take (ADR 0011).
local slices -- those that are not over yet: {length, number, hashes, beginning of their keys}
local IDS_A_HASH = 50
local FIRST_HASHES = 4096 -- of the first slice; the next are by what the last one held

local function slice(length, number, hashes)
  return { length, number, hashes, string.format('%s:seen:%d:%d:', root, length, number) }
end

local function living()
  if slices then return slices end
  slices = {}
  local found = redis.call('HGETALL', root .. ':seen')
  for n = 1, #found, 2 do
    local length, number = string.match(found[n], '^(%d+):(%d+)$')
    if length and (number + 1) * length > now then
      slices[#slices + 1] = slice(tonumber(length), tonumber(number), tonumber(found[n + 1]))
    end
  end
  -- what is asked for is mostly of late, and found in the first
  table.sort(slices, function(one, other) return (one[2] + 1) * one[1] > (other[2] + 1) * other[1] end)
  return slices
end

local function spread(id) return tonumber(string.sub(redis.sha1hex(id), 1, 8), 16) end

local function hash_in(one, spreading) return one[4] .. spreading % one[3] end

-- Return a moment as whole milliseconds of a slice: Redis packs such numbers into a few bytes.
local function within(one, moment) return math.floor((moment - one[1] * one[2]) * 1000 + 0.5) end

local function is_remembered(id, spreading, but)
  for _, one in ipairs(living()) do
    local forgotten_at = one ~= but and redis.call('HGET', hash_in(one, spreading), id)
    if forgotten_at and tonumber(forgotten_at) > within(one, now) then return true end
  end
  return false
end

local function remembered(id) return is_remembered(id, spread(id)) end

local function forget(id)
  local spreading = spread(id)
  for _, one in ipairs(living()) do redis.call('HDEL', hash_in(one, spreading), id) end
end

local function slice_of(moment, seconds)
  local length = math.max(1, math.floor(seconds / 2))
  local number = math.floor(moment / length)
  for _, one in ipairs(living()) do
    if one[1] == length and one[2] == number then return one end
  end
  local key = root .. ':seen'
  local last = redis.call('HGET', key, string.format('n:%d:%d', length, number - 1))
  local hashes = last and math.max(16, math.ceil(last / IDS_A_HASH)) or FIRST_HASHES
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local its_length, its_number = string.match(field, '(%d+):(%d+)$')
    if (its_number + 2) * its_length <= now then redis.call('HDEL', key, field) end
  end
  redis.call('HSET', key, string.format('%d:%d', length, number), hashes)
  slices[#slices + 1] = slice(length, number, hashes)
  return slices[#slices]
end

-- Note an id for some seconds; false when it is noted already.
local function remember(id, seconds)
  if seconds <= 0 then return true end
  local spreading = spread(id)
  local its = slice_of(now + seconds, seconds)
  if is_remembered(id, spreading, its) then return false end
  local key = hash_in(its, spreading)
  if redis.call('HSETNX', key, id, within(its, now + seconds)) == 0 then
    if tonumber(redis.call('HGET', key, id)) > within(its, now) then return false end
    redis.call('HSET', key, id, within(its, now + seconds))
  end
  if redis.call('HLEN', key) == 1 then
    redis.call('EXPIRE', key, math.ceil((its[2] + 1) * its[1] - now))
  end
  kept[its] = (kept[its] or 0) + 1
  return true
end

local function create(id, kind, stage, data, trace)
  local m = { kind, stage, 'ready', now, '', 0, 0, 0, '', 0, 0, now, now, 0, 0, 0, 0, trace, '', '', '' }
  save(id, m)
  put('data', id, data)
  look(stage, id, now + GRACE)
  place(m, 1)
  count(kind .. '.admitted', 1)
end

-- Out of the dead letters, back to a stage; the caller puts it into an index and saves it.
local function resurrect(id, m, stage)
  place(m, -1)
  unlist(m)
  index(':dead', id, false)
  look('write', id, false)
  enter(m, stage, 0)
  m[CATEGORY], m[ERROR], m[AFFINITY] = '', '', ''
end

-- Admit a record that something else led to; false when it is known already.
local function spawn(id, kind, stage, data, trace, revive, seconds)
  local m = load(id)
  if m then
    if revive and m[STATE] == 'dead' then
      local history = noted(m, text('history', id), 'revived')
      resurrect(id, m, stage)
      m[FRESH] = 0
      place(m, 1)
      look(stage, id, now + GRACE)
      save(id, m)
      put('data', id, data)
      put('history', id, history)
      drop('rows', id)
      drop('failure', id)
      count(kind .. '.revived', 1)
      return true
    end
  elseif not remembered(id) then
    if kind == 'event' then remember(id, seconds) end
    create(id, kind, stage, data, trace)
    return true
  end
  count(kind .. '.duplicate', 1)
  return false
end

-- Spawn what stands in ARGV from *at*, a number first; returns the position behind it.
local function spawn_all(at, seconds)
  local many = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, many do
    spawn(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5] == '1', seconds)
    at = at + 6
  end
  return at
end

-- To the dead letters. *fresh* rows go to the lake; without, those of the stage write are kept
-- for a requeue, unless the record was dead before: then they are what could not be written.
local function bury(id, m, history, failure, category, error, tail, fresh)
  local was_dead = m[STATE] == 'dead'
  history = noted(m, history, was_dead and 'rows refused' or 'buried', tail)
  look(was_dead and 'write' or m[STAGE], id, false)
  unlist(m)
  free(m)
  save(id, m)
  put('history', id, history)
  if was_dead then
    m[PENDING] = 0
    drop('rows', id)
    return
  end
  place(m, -1)
  m[STATE], m[CATEGORY], m[ERROR], m[SINCE], m[PENDING] = 'dead', category, error, 0, 0
  m[LOSSES] = 0 -- those of the stage it died in say nothing of the rows it leaves to the writer
  place(m, 1)
  index(':dead', id, now)
  put('failure', id, failure)
  if fresh ~= '' then
    m[PENDING], m[DUE] = 1, now
    enlist(id, m)
    look('write', id, now + GRACE)
    put('rows', id, fresh)
  end
end
