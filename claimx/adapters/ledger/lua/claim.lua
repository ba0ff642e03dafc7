-- ARGV: time, stage, lease, seconds, ids. Returns {time, ids, heads, data, rows}, no rows but for the
-- writer. A head is a text of four words and the rest of the facts, packed.
local stage, lease, seconds = ARGV[2], ARGV[3], tonumber(ARGV[4])
local writing = stage == 'write'
local found, heads, left = {}, {}, {} -- left: how many records of each state were leased

-- A lease that ran out: note it, and bury what keeps losing its workers. Returns the history,
-- false when the record is buried.
local function lost(id)
  local m = load(id)
  local history = text('history', id)
  m[LOSSES] = m[LOSSES] + 1
  if m[LOSSES] < MOST_LOSSES then
    return noted(m, history, 'lost', ',"holder":"' .. m[LEASE] .. '"')
  end
  local members = '"category":"UNKNOWN","error":"LostByWorkers"'
  local failure = string.format(
    '{%s,"message":"lost by its workers %d times","stage":"%s","at":%.3f,"status":null,"host":null,'
      .. '"reason":"lost by its workers"}',
    members, MOST_LOSSES, m[STAGE], now)
  bury(id, m, history, failure, 'UNKNOWN', 'LostByWorkers', ',' .. members, '')
  return false
end

fetch_first(every(5, 1))
for at = 5, #ARGV do
  local id = ARGV[at]
  local m = glance(id)
  local dead = m and m[STATE] == 'dead'
  local here = m and ((dead and writing and m[PENDING] == 1) or (not dead and m[STAGE] == stage))
  -- a client that repeats its call after a broken connection gets its own leases again
  local again = here and m[LEASE] == lease
  if again or (here and has_come(m[DUE]) and (m[LEASE] == '' or has_come(m[UNTIL]))) then
    local history = nil
    if m[LEASE] ~= '' and not again then history = lost(id) end
    if history ~= false then
      local tries = m[TRIES]
      if again then
        tries = tries - (dead and 0 or 1)
      elseif not dead then
        m[TRIES] = tries + 1
        if m[STATE] ~= 'leased' then
          left[m[STATE]] = (left[m[STATE]] or 0) + 1
          m[STATE] = 'leased'
        end
      end
      m[LEASE], m[UNTIL] = lease, now + seconds
      look(stage, id, m[UNTIL])
      save(id, m)
      if history then put('history', id, history) end
      found[#found + 1] = id
      heads[#found] = m[KIND] .. ' ' .. m[STATE] .. ' ' .. digits[m[ATTEMPTS]] .. ' ' .. digits[tries] .. ' '
        .. rest_of(id, m)
    end
  end
end
for state, many in pairs(left) do
  count('s:' .. stage .. ':' .. state, -many)
  count('s:' .. stage .. ':leased', many)
end
flush()
return { scores[now], found, heads, texts('data', found), writing and texts('rows', found) or {} }
