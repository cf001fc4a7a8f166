-- Appends a batch, or remembers the id of an empty one.
--
-- KEYS: state, index, ids, held, payload
--
-- ARGV: uid, name, content, generation, items, bytes, named, read ("g v e"), empty, oldest, kept,
-- most, age in ms, prefix of the keys of payloads
--
-- Returns {"ok" | "dup", place, entry}, {"generation", g}, {"gone"}, or {"payload"}: it is missing,
-- and must be set first.
local s = redis.call('HMGET', KEYS[1], 'uid', 'g', 'v', 'e', 'c', 'k', 't')
if s[1] ~= ARGV[1] then return {'gone'} end
local at = redis.call('HGET', KEYS[3], ARGV[2])
if at then
    -- WAIT covers the writes of its connection: this write makes it cover the original too.
    redis.pcall('HSET', KEYS[1], 'w', '1')
    local known = redis.call('XRANGE', KEYS[2], at, at)
    if known[1] then return {'dup', at, known[1][2][2]} end
end
if s[2] ~= ARGV[4] then return {'generation', s[2]} end
local now = redis.call('TIME')
local stamp = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
local empty, v, e, c, k = ARGV[9] == '1', tonumber(s[3]), tonumber(s[4]), s[5], 0
if empty then
    k = tonumber(s[6]) + 1
else
    if redis.call('EXISTS', KEYS[5]) == 0 then return {'payload'} end
    v, e = v + 1, e + tonumber(ARGV[5])
    c = string.sub(redis.sha1hex(c .. ARGV[2] .. ARGV[3] .. string.format('%s:%.0f:%.0f', s[2], v, e)), 1, 32)
end
local place = string.format('%.0f-%.0f', v, k)
local entry = string.format('%s %s %.0f %s %s %s %s %s %s %s %s', empty and 'i' or 'b', s[2], e, ARGV[5], ARGV[6],
    ARGV[2], ARGV[3], ARGV[7], ARGV[8], stamp, c)
-- The first write is one that a full store refuses, so that all writes happen or none does.
redis.call('XADD', KEYS[2], place, 'r', entry)
redis.call('HSET', KEYS[3], ARGV[2], place)
if not empty then redis.call('PERSIST', KEYS[5]) end

-- Payloads that are no longer needed expire, after some time for readers that are behind; then
-- entries whose names may be forgotten are deleted.
local t, oldest, steps = tonumber(s[7]), math.min(tonumber(ARGV[10]), v), 0
while t < oldest and steps < 16 do
    local row = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', t), string.format('%.0f-0', t))
    if row[1] then
        local name, content = string.match(row[1][2][2], '^b %d+ %d+ %d+ %d+ (%x+) (%x+) ')
        if name and redis.call('HEXISTS', KEYS[4], name .. ':' .. content) == 0 then
            redis.call('EXPIRE', ARGV[14] .. name .. ':' .. content, '5')
        end
    end
    t, steps = t + 1, steps + 1
end
redis.call('HSET', KEYS[1], 'v', string.format('%.0f', v), 'e', string.format('%.0f', e), 'c', c,
    'k', string.format('%.0f', k), 't', string.format('%.0f', t))
local count = redis.call('XLEN', KEYS[2])
if count > tonumber(ARGV[11]) then
    local cut
    for _, row in ipairs(redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 4)) do
        local version = tonumber(string.match(row[1], '^%d+'))
        local name, written = string.match(row[2][2], '^%l %d+ %d+ %d+ %d+ (%x+) %x+ %d %d+ %d+ %d+ (%d+) ')
        if version >= t or count <= tonumber(ARGV[11])
            or (count <= tonumber(ARGV[12]) and tonumber(stamp) - tonumber(written) < tonumber(ARGV[13])) then break end
        if redis.call('HGET', KEYS[3], name) == row[1] then redis.call('HDEL', KEYS[3], name) end
        local major, minor = string.match(row[1], '^(%d+)-(%d+)$')
        cut, count = major .. '-' .. string.format('%.0f', tonumber(minor) + 1), count - 1
    end
    if cut then redis.call('XTRIM', KEYS[2], 'MINID', cut) end
end
return {'ok', place, entry}
