-- ARGV: time, entries.
for at = 2, #ARGV do gone[#gone + 1] = ARGV[at] end
flush()
return 1
