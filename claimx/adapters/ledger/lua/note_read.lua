-- ARGV: time, cursor, version and time of its checkpoint, a text, ids that were left out because they
-- are remembered. Returns 1 when it is kept, 0 when the checkpoint is another (whoever read with it
-- knows nothing of what came into the ledger since) or one of the ids is not remembered.
local key = root .. ':cursor:' .. ARGV[2]
local stored = redis.call('HMGET', key, 'version', 'time')
if stored[1] ~= ARGV[3] or stored[2] ~= ARGV[4] then return 0 end
for at = 6, #ARGV do
  if not remembered(ARGV[at]) then return 0 end
end
redis.call('HSET', key, 'note', ARGV[5])
return 1
