-- Creates a bank unless there is one of that name.
-- KEYS: state, banks, gone   ARGV: name, uid, configuration
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('HSET', KEYS[1], 'uid', ARGV[2], 'config', ARGV[3], 'format', '1', 'g', '1', 'v', '0', 'e', '0', 'k', '0',
        't', '1', 'base', '0', 'cleared', '0', 'c', string.sub(redis.sha1hex(ARGV[2]), 1, 32))
    redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
return {}
