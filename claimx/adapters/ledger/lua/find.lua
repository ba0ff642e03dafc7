-- ARGV: time, id. Returns {time, head as `claim` does, data, history, rows}, or false.
local id = ARGV[2]
local m = load(id)
if not m then return false end
local head = string.format('%s %s %d %d ', m[KIND], m[STATE], m[ATTEMPTS], m[TRIES]) .. rest_of(id, m)
return { scores[now], head, text('data', id), text('history', id) or '', text('rows', id) or '', m[STAGE] }
