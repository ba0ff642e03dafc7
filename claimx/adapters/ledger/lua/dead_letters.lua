-- ARGV: time, stage, category, error, kind (each empty for any), limit, '1' for letters without data
-- and history, and either '', the last letter that was looked at (empty: none) and when it died, or
-- 'ids' and ids.
-- Returns {the letter to go on after (empty: that is all), when it died,
-- {id, head, data, history, failure} a letter}, the newest first.
local dead = root .. ':dead'
local stage, category, error, kind, limit = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local bare = ARGV[7] == '1'
local SCANNED = 1000
local ids, walks = {}, ARGV[8] ~= 'ids'

-- Ranks move when others are requeued in between. Where that one went as well, go on with all that
-- died when it did: who asks knows them again.
local function rank_after(last, died)
  if last == '' then return 0 end
  if redis.call('ZSCORE', dead, last) == died then return redis.call('ZREVRANK', dead, last) + 1 end
  return redis.call('ZCOUNT', dead, '(' .. died, '+inf')
end

if walks then
  local from = rank_after(ARGV[9], ARGV[10])
  ids = redis.call('ZREVRANGE', dead, from, from + SCANNED - 1)
else
  for at = 9, #ARGV do ids[#ids + 1] = ARGV[at] end
end

local answer, found = {}, 0
for _, id in ipairs(ids) do
  local m = load(id)
  if m and m[STATE] == 'dead' and (stage == '' or m[STAGE] == stage) and (category == '' or m[CATEGORY] == category)
    and (error == '' or m[ERROR] == error) and (kind == '' or m[KIND] == kind) then
    answer[#answer + 1] = id
    answer[#answer + 1] = string.format('%s %s %d %d %d %s %.6f %s', m[KIND], m[STAGE], m[ATTEMPTS], m[REPLAYS],
      m[FRESH], redis.call('ZSCORE', dead, id) or '0', m[ADMITTED], m[TRACE])
    answer[#answer + 1] = bare and '' or text('data', id)
    answer[#answer + 1] = not bare and text('history', id) or ''
    answer[#answer + 1] = text('failure', id)
    found = found + 1
  end
  if found >= limit then return { walks and id or '', redis.call('ZSCORE', dead, id) or '', answer } end
end
local last = walks and #ids == SCANNED and ids[SCANNED] or ''
return { last, redis.call('ZSCORE', dead, last) or '', answer }
