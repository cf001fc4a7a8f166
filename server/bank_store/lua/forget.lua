-- Deletes a checkpoint, and the payloads that it alone held.
--
-- KEYS: state, index, ids, held, tags, and those of the checkpoint: state, index, ids
--
-- ARGV: uid, tag, prefix of the keys of payloads
local s = redis.call('HMGET', KEYS[1], 'uid', 't')
if s[1] ~= ARGV[1] then return {'gone'} end
if redis.call('HDEL', KEYS[5], ARGV[2]) == 0 then return {'missing'} end
local t = tonumber(s[2])
for _, row in ipairs(redis.call('XRANGE', KEYS[7], redis.call('HGET', KEYS[6], 't') .. '-0', '+')) do
    local name, content = string.match(row[2][2], '^b %d+ %d+ %d+ %d+ (%x+) (%x+) ')
    if name and redis.call('HINCRBY', KEYS[4], name .. ':' .. content, -1) <= 0 then
        redis.call('HDEL', KEYS[4], name .. ':' .. content)
        local at = redis.call('HGET', KEYS[3], name)
        local live = at and tonumber(string.match(at, '^%d+')) >= t
        if live then
            local entry = redis.call('XRANGE', KEYS[2], at, at)
            live = entry[1] and string.match(entry[1][2][2], '^b %d+ %d+ %d+ %d+ %x+ (%x+) ') == content
        end
        if not live then redis.call('UNLINK', ARGV[3] .. name .. ':' .. content) end
    end
end
redis.call('UNLINK', KEYS[6], KEYS[7], KEYS[8])
return {'ok'}
