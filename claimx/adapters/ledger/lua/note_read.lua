-- ARGV: time, cursor, version and time of its checkpoint, a text. Returns 1 when it is kept, 0 when
-- the checkpoint is another: whoever read with it knows nothing of what came into the ledger since.
local key = root .. ':cursor:' .. ARGV[2]
local stored = redis.call('HMGET', key, 'version', 'time')
if stored[1] ~= ARGV[3] or stored[2] ~= ARGV[4] then return 0 end
redis.call('HSET', key, 'note', ARGV[5])
return 1
