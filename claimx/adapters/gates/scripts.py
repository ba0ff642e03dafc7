"""
The gates' atomic steps, run inside Redis on Redis's own clock.

Times are whole milliseconds. A closed circuit without failures has no key at all, so the healthy
case costs Redis nothing; `claimx.domain.circuit` is the same machine in Python.
"""

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

_CIRCUIT = (
    _NOW
    + """
local c = {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do c[flat[i]] = tonumber(flat[i + 1]) end
local fields = {'failures', 'openings', 'open_until', 'lasts', 'trials', 'trial_until', 'successes'}
for _, field in ipairs(fields) do c[field] = c[field] or 0 end
local function save()
  for _, field in ipairs(fields) do redis.call('HSET', KEYS[1], field, c[field]) end
  redis.call('PEXPIRE', KEYS[1], 86400000)
  redis.call('SADD', KEYS[2], ARGV[1])
end
local function clear()
  redis.call('DEL', KEYS[1])
  redis.call('SREM', KEYS[2], ARGV[1])
end
-- What is still to last longer than it was to last in all, and a second, is over: the clock was set
-- back, and it would last for as long as that.
local function left(till, lasts)
  if till - now > 0 and till - now < lasts + 1000 then return till - now end
  return 0
end
local state = 0
if c.openings > 0 then
  if left(c.open_until, c.lasts) > 0 then state = 1 else state = 2 end
end
"""
)

# ARGV: name, count, trials, trial_ms, ask_again_ms -> {granted, wait ms, state, failures}
PERMIT = (
    _CIRCUIT
    + """
local count = tonumber(ARGV[2])
if state == 0 then return {count, 0, 0, c.failures} end
if state == 1 then return {0, c.open_until - now, 1, c.failures} end
local out = left(c.trial_until, tonumber(ARGV[4])) > 0
if c.trials > 0 and not out then c.trials = 0; c.successes = 0 end
local granted = math.min(count, tonumber(ARGV[3]) - c.trials)
if granted > 0 then
  c.trials = c.trials + granted
  c.trial_until = now + tonumber(ARGV[4])
  save()
end
local wait = 0
if granted < count then wait = tonumber(ARGV[5]) end
return {math.max(granted, 0), wait, 2, c.failures}
"""
)

# ARGV: name, successes, failures, limit, open_ms, longest_ms, needed -> {state, failures, wait ms}
REPORT = (
    _CIRCUIT
    + """
local function open()
  c.openings = c.openings + 1
  local lasts = tonumber(ARGV[5]) * 2 ^ math.min(c.openings - 1, 16)
  lasts = math.floor(math.min(tonumber(ARGV[6]), lasts))
  c.open_until = now + lasts
  c.lasts = lasts
  c.trials = 0
  c.successes = 0
  save()
  return {1, c.failures, lasts}
end
if state == 1 then return {1, c.failures, c.open_until - now} end
if state == 2 and c.trials == 0 then return {2, c.failures, 0} end
local successes, failures = tonumber(ARGV[2]), tonumber(ARGV[3])
if state == 2 then
  c.successes = math.min(c.trials, c.successes + successes)
  if c.successes < tonumber(ARGV[7]) then
    if failures > 0 then return open() end
    save()
    return {2, c.failures, 0}
  end
  for _, field in ipairs(fields) do c[field] = 0 end
elseif successes > 0 then
  c.failures = 0
end
c.failures = c.failures + failures
if c.failures >= tonumber(ARGV[4]) then return open() end
if c.failures == 0 then clear() else save() end
return {0, c.failures, 0}
"""
)

# ARGV: name, count
GIVE_BACK = (
    _CIRCUIT
    + """
if state == 2 and c.trials > 0 then
  c.trials = math.max(c.successes, c.trials - tonumber(ARGV[2]))
  save()
end
return 0
"""
)

# KEYS: circuit, index; ARGV: name -> {state, failures, wait ms}, forgets circuits that are gone
CIRCUIT_STATE = (
    _CIRCUIT
    + """
if #flat == 0 then redis.call('SREM', KEYS[2], ARGV[1]) end
return {state, c.failures, left(c.open_until, c.lasts)}
"""
)

_SHARE = (
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local limit, holder = tonumber(ARGV[1]), ARGV[2]
local parties, seen, mine, hungry = 1, {[holder] = true}, 0, false
local held = redis.call('ZRANGE', KEYS[1], 0, -1)
for _, token in ipairs(held) do
  local owner = string.match(token, '^(.*)/')
  if owner == holder then mine = mine + 1 end
  if not seen[owner] then seen[owner] = true; parties = parties + 1 end
end
for _, other in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if other ~= holder then hungry = true end
  if not seen[other] then seen[other] = true; parties = parties + 1 end
end
local share = math.ceil(limit / parties)
local cap = limit
if hungry then cap = share end
"""
)

# KEYS: slots, waiting; ARGV: limit, holder, wanted, lease ms, nonce, waiting ms -> tokens
TAKE_SLOTS = (
    _SHARE
    + """
local wanted = tonumber(ARGV[3])
local granted = math.max(0, math.min(wanted, limit - #held, cap - mine))
local tokens = {}
for i = 1, granted do
  tokens[i] = holder .. '/' .. ARGV[5] .. '.' .. i
  redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), tokens[i])
end
if granted > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
if granted < wanted and mine + granted < share then
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[6]), holder)
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
else
  redis.call('ZREM', KEYS[2], holder)
end
return tokens
"""
)

# KEYS: slots, waiting; ARGV: limit, holder -> what this holder may keep
FAIR_SHARE = _SHARE + "return cap"

# KEYS: slots; ARGV: lease ms, tokens... -> those still held
RENEW_SLOTS = (
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local kept = {}
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[i])
    kept[#kept + 1] = ARGV[i]
  end
end
if #kept > 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return kept
"""
)

# KEYS: bucket; ARGV: wanted, per second, capacity -> {got, ms until the next}
TAKE_TOKENS = (
    _NOW
    + """
local rate, capacity = tonumber(ARGV[2]), tonumber(ARGV[3])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(bucket[1] or capacity)
local at = tonumber(bucket[2] or now)
tokens = math.min(capacity, tokens + math.max(0, now - at) * rate / 1000)
local got = math.min(tonumber(ARGV[1]), math.floor(tokens + 1e-9))
tokens = math.max(0, tokens - got)
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', now)
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity / rate * 1000) + 1000)
local wait = 0
if got < tonumber(ARGV[1]) then wait = math.ceil(math.max(0, 1 - tokens) / rate * 1000) end
return {got, wait}
"""
)

# KEYS: lock, fence; ARGV: holder, lease ms -> fence, or false while another holds it.
# The fence lies in a key of its own that is there for a month after the lease was last taken, and
# starts from the clock, so that it grows even when that is over, or Redis was emptied in between.
LOCK = (
    _NOW
    + """
local current = redis.call('HMGET', KEYS[1], 'holder', 'fence')
if current[1] and current[1] ~= ARGV[1] then
  -- longer than one that is taken now: the clock was set back, and a dead holder's would last on
  if redis.call('PTTL', KEYS[1]) > ARGV[2] + 1000 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  return false
end
if current[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return tonumber(current[2])
end
local fence = math.max(tonumber(redis.call('GET', KEYS[2]) or '0') + 1, now)
redis.call('SET', KEYS[2], string.format('%d', fence), 'PX', 2592000000)
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'fence', string.format('%d', fence))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return fence
"""
)

# Only the holder named by the argument opens its own lock.
UNLOCK = """
if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

# KEYS: one for each project; ARGV: ms, what to keep of each. As many SETs in a pipeline take their
# client ten times as long.
MARK_KNOWN = """
for n, key in ipairs(KEYS) do redis.call('SET', key, ARGV[n + 1], 'PX', ARGV[1]) end
"""

# KEYS: processes (hash), ends (zset); ARGV: field, JSON, lease ms
BEAT = (
    _NOW
    + """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]), ARGV[1])
return 1
"""
)

# KEYS: processes, ends -> JSON of those alive; forgets the others
PROCESSES = (
    _NOW
    + """
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  redis.call('HDEL', KEYS[1], gone)
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
return redis.call('HVALS', KEYS[1])
"""
)
