-- ARGV: time, {id, stage, lease} a record.
fetch(every(2, 3))
for at = 2, #ARGV, 3 do
  local id = ARGV[at]
  local m = load(id)
  if held(m, ARGV[at + 1], ARGV[at + 2]) then
    if m[STATE] ~= 'dead' then
      place(m, -1)
      m[STATE] = m[SINCE] > 0 and 'waiting' or m[ATTEMPTS] > 0 and 'retrying' or 'ready'
      m[TRIES] = m[TRIES] - 1
      place(m, 1)
    end
    free(m)
    save(id, m)
    look(ARGV[at + 1], id, now)
  end
end
flush()
return 1
