-- ARGV: time, id. Returns {head, data, history, rows}, or false.
local id = ARGV[2]
local m = load(id)
if not m then return false end
local waited = m[SINCE] > 0 and now - m[SINCE] or 0
local head = string.format('%s %s %d %d %d %.6f %.6f %s', m[KIND], m[STATE], m[ATTEMPTS], m[TRIES], m[FRESH],
  m[ADMITTED], waited, m[TRACE])
return { head, text('data', id), text('history', id) or '', text('rows', id) or '', m[STAGE] }
