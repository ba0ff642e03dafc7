-- ARGV: time, id. Returns {head, data, history, rows}, or false.
local got = redis.call('HMGET', record(ARGV[2]), 'm', 'd', 'h', 'w')
if not got[1] then return false end
local m = cmsgpack.unpack(got[1])
local waited = m[SINCE] > 0 and now - m[SINCE] or 0
local head = string.format('%s %s %d %d %d %.6f %.6f %s', m[KIND], m[STATE], m[ATTEMPTS], m[TRIES], m[FRESH],
  m[ADMITTED], waited, m[TRACE])
return { head, got[2], got[3] or '', got[4] or '', m[STAGE] }
