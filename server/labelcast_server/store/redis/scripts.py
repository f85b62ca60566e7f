"""The scripts that change control keys atomically.

Scripts compare whole values and never look inside, because Lua would read a size as a double. Each
is sent as text every time: they are short and rare, and a restarted Redis has forgotten them.
"""

from collections.abc import Sequence

# KEYS uploads; ARGV upload ID, session as read, new session. 1 if it was still as read.
ADVANCE_UPLOAD = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

# KEYS uploads, blobs, garbage; ARGV upload ID, session as read, digest, blob entry, garbage entry.
# 0 if the session changed, else the entry of the visible blob. HDEL comes first: Redis lets a
# script whose first write frees memory go on when memory is short.
FINISH_UPLOAD = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
local visible = redis.call('HGET', KEYS[2], ARGV[3])
if visible then
    redis.call('HSET', KEYS[3], ARGV[1], ARGV[5])
    return visible
end
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
return ARGV[4]
"""

# KEYS uploads, garbage; ARGV upload ID, garbage entry. 1 if there was such a session.
DROP_UPLOAD = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return 1
"""

# KEYS blobs, garbage; ARGV digest, blob entry as read, data ID, garbage entry. 1 if it was as read.
DROP_BLOB = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
return 1
"""

# KEYS label set, index; ARGV digest, manifest, state, created_at.
PUT_LABEL_SET = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'manifest', ARGV[2], 'state', ARGV[3], 'created_at', ARGV[4])
redis.call('SADD', KEYS[2], ARGV[1])
return 1
"""

# KEYS label set, tags, channel; ARGV digest, expected, new, tag or '', '1' to drop its tags.
# The state found if it is not the expected one, '' if there is no such label set, else nil. Whoever
# may not publish changes the state all the same: readers look again after a few seconds.
TRANSITION = """
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return '' end
if state ~= ARGV[2] then return state end
if ARGV[5] == '1' then
    local tags = redis.call('HGETALL', KEYS[2])
    for i = 1, #tags, 2 do
        if tags[i + 1] == ARGV[1] then redis.call('HDEL', KEYS[2], tags[i]) end
    end
end
redis.call('HSET', KEYS[1], 'state', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[2], ARGV[4], ARGV[1]) end
redis.pcall('PUBLISH', KEYS[3], ARGV[1])
return false
"""


def call(
    script: str, script_keys: Sequence[str], arguments: Sequence[str | bytes]
) -> list[str | bytes | int]:
    """Build the command that runs a script."""
    return ["EVAL", script, len(script_keys), *script_keys, *arguments]
