-- Deletes a bank with all that belongs to it, and remembers for a day that it was deleted.
--
-- KEYS: state, index, ids, held, tags, serves, banks, gone
--
-- ARGV: name, uid, prefix of the keys of payloads, prefix of those of checkpoints
if redis.call('HGET', KEYS[1], 'uid') ~= ARGV[2] then return {'gone'} end
local function unlink(index)
    for _, row in ipairs(redis.call('XRANGE', index, '-', '+')) do
        local name, content = string.match(row[2][2], '^b %d+ %d+ %d+ %d+ (%x+) (%x+) ')
        if name then redis.call('UNLINK', ARGV[3] .. name .. ':' .. content) end
    end
end
unlink(KEYS[2])
for _, tag in ipairs(redis.call('HKEYS', KEYS[5])) do
    unlink(ARGV[4] .. tag .. ':index')
    redis.call('UNLINK', ARGV[4] .. tag .. ':state', ARGV[4] .. tag .. ':index', ARGV[4] .. tag .. ':ids')
end
redis.call('HDEL', KEYS[7], ARGV[1])
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.pcall('SET', KEYS[8], ARGV[2], 'EX', '86400')
return {'ok'}
