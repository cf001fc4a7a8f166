-- Continues from a checkpoint, in a new generation. Present payloads that no checkpoint holds are
-- deleted.
--
-- KEYS: state, index, ids, held, tags, and those of the checkpoint: state, index, ids
--
-- ARGV: uid, tag, prefix of the keys of payloads
local s = redis.call('HMGET', KEYS[1], 'uid', 'g', 't')
if s[1] ~= ARGV[1] then return {'gone'} end
if redis.call('HEXISTS', KEYS[5], ARGV[2]) == 0 then return {'missing'} end
local old = redis.call('XRANGE', KEYS[2], s[3] .. '-0', '+')
local p = redis.call('HMGET', KEYS[6], 'v', 'e', 'k', 'c', 't', 'base', 'cleared')
local g, k = string.format('%.0f', tonumber(s[2]) + 1), string.format('%.0f', tonumber(p[3]) + 1)
local c = string.sub(redis.sha1hex(p[4] .. 'restore' .. g .. ':' .. p[1] .. ':' .. p[2]), 1, 32)
local now = redis.call('TIME')
redis.call('HSET', KEYS[1], 'g', g, 'v', p[1], 'e', p[2], 'k', k, 'c', c, 't', p[5], 'base', p[6], 'cleared', p[7])
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('COPY', KEYS[7], KEYS[2])
redis.call('COPY', KEYS[8], KEYS[3])
redis.call('XADD', KEYS[2], p[1] .. '-' .. k, 'r', string.format('r %s %s 0 0 %s %s 0 0 0 0 %.0f %s', g, p[2],
    string.rep('0', 32), string.rep('0', 16), now[1] * 1000 + math.floor(now[2] / 1000), c))
for _, row in ipairs(old) do
    local name, content = string.match(row[2][2], '^b %d+ %d+ %d+ %d+ (%x+) (%x+) ')
    if name and redis.call('HEXISTS', KEYS[4], name .. ':' .. content) == 0 then
        redis.call('UNLINK', ARGV[3] .. name .. ':' .. content)
    end
end
return {'ok'}
