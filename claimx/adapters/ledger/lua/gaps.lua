-- ARGV: time, cursor. Returns {after, "until rows"} a gap.
return redis.call('HGETALL', root .. ':gaps:' .. ARGV[2])
