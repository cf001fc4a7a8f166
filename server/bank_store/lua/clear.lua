-- Begins a new, empty generation. Payloads that a checkpoint holds stay, and so do the names of
-- batches.
--
-- KEYS: state, index, held
--
-- ARGV: uid, prefix of the keys of payloads
local s = redis.call('HMGET', KEYS[1], 'uid', 'g', 'v', 'e', 'c', 'k', 't')
if s[1] ~= ARGV[1] then return {'gone'} end
local g, k = string.format('%.0f', tonumber(s[2]) + 1), string.format('%.0f', tonumber(s[6]) + 1)
local c = string.sub(redis.sha1hex(s[5] .. 'clear' .. g .. ':' .. s[3] .. ':' .. s[4]), 1, 32)
local now = redis.call('TIME')
local old = redis.call('XRANGE', KEYS[2], s[7] .. '-0', '+')
redis.call('XADD', KEYS[2], s[3] .. '-' .. k, 'r', string.format('c %s %s 0 0 %s %s 0 0 0 0 %.0f %s', g, s[4],
    string.rep('0', 32), string.rep('0', 16), now[1] * 1000 + math.floor(now[2] / 1000), c))
redis.call('HSET', KEYS[1], 'g', g, 'k', k, 'c', c, 'base', s[4], 'cleared', g,
    't', string.format('%.0f', tonumber(s[3]) + 1))
for _, row in ipairs(old) do
    local name, content = string.match(row[2][2], '^b %d+ %d+ %d+ %d+ (%x+) (%x+) ')
    if name and redis.call('HEXISTS', KEYS[3], name .. ':' .. content) == 0 then
        redis.call('UNLINK', ARGV[2] .. name .. ':' .. content)
    end
end
return {'ok'}
