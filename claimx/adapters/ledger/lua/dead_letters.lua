-- ARGV: time, stage, category, error, kind (each empty for any), limit, '1' for letters without data
-- and history, and either '' and the rank to go on from, or 'ids' and ids.
-- Returns {next rank or -1, {id, head, data, history, failure} a letter}, the newest first.
local stage, category, error, kind, limit = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local bare = ARGV[7] == '1'
local SCANNED = 1000
local ids, from = {}, nil
if ARGV[8] == 'ids' then
  for at = 9, #ARGV do ids[#ids + 1] = ARGV[at] end
else
  from = tonumber(ARGV[9])
  ids = redis.call('ZREVRANGE', root .. ':dead', from, from + SCANNED - 1)
end

local answer, found = {}, 0
for n, id in ipairs(ids) do
  local m = load(id)
  if m and m[STATE] == 'dead' and (stage == '' or m[STAGE] == stage) and (category == '' or m[CATEGORY] == category)
    and (error == '' or m[ERROR] == error) and (kind == '' or m[KIND] == kind) then
    answer[#answer + 1] = id
    answer[#answer + 1] = string.format('%s %s %d %d %d %s %.6f %s', m[KIND], m[STAGE], m[ATTEMPTS], m[REPLAYS],
      m[FRESH], redis.call('ZSCORE', root .. ':dead', id) or '0', m[ADMITTED], m[TRACE])
    answer[#answer + 1] = bare and '' or text('data', id)
    answer[#answer + 1] = not bare and text('history', id) or ''
    answer[#answer + 1] = text('failure', id)
    found = found + 1
  end
  if found >= limit then return { from and from + n or -1, answer } end
end
return { from and #ids == SCANNED and from + SCANNED or -1, answer }
