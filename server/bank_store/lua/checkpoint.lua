-- Takes a checkpoint: copies of state, index and names, and a hold on the payloads.
-- KEYS: state, index, ids, held, tags, and those of the checkpoint: state, index, ids
-- ARGV: uid, tag, created, capacity
local s = redis.call('HMGET', KEYS[1], 'uid', 'g', 'v', 'e', 't', 'base', 'config')
if s[1] ~= ARGV[1] then return {'gone'} end
if redis.call('HEXISTS', KEYS[5], ARGV[2]) == 1 then return {'exists'} end
local bytes, held = 0, {}
for _, row in ipairs(redis.call('XRANGE', KEYS[2], s[5] .. '-0', '+')) do
    local size, name, content = string.match(row[2][2], '^b %d+ %d+ %d+ (%d+) (%x+) (%x+) ')
    if name then
        bytes = bytes + tonumber(size)
        held[#held + 1] = name .. ':' .. content
    end
end
local items = tonumber(s[4]) - math.max(tonumber(s[6]), tonumber(s[4]) - tonumber(ARGV[4]))
local about = string.format('%s %s %.0f %.0f %s', s[3], s[2], items, bytes, ARGV[3])
redis.call('HSET', KEYS[5], ARGV[2], about)
redis.call('COPY', KEYS[1], KEYS[6], 'REPLACE')
redis.call('COPY', KEYS[2], KEYS[7], 'REPLACE')
redis.call('COPY', KEYS[3], KEYS[8], 'REPLACE')
for _, payload in ipairs(held) do redis.call('HINCRBY', KEYS[4], payload, 1) end
return {'ok', about, s[7]}
