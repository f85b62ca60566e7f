"""Values of the control keys, and the scripts that change them atomically.

Scripts compare whole values and never look inside, because Lua would read a size as a double. Each
is sent as text every time: they are short and rare, and a restarted Redis has forgotten them.
"""

import json
from dataclasses import dataclass

from labelcast_server.store.blobs import BlobInfo, Upload

# KEYS uploads; ARGV upload ID, session as read, session to be. 1 if it was still as read.
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

# KEYS label set, tags; ARGV digest, expected, new, tag or '', '1' to drop its tags.
# The state found if it is not the expected one, '' if there is no such label set, else nil.
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
return false
"""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A visible blob and where its chunks lie."""

    info: BlobInfo
    data_id: str


@dataclass(frozen=True, slots=True)
class Garbage:
    """Chunks of a session that is no more.

    Kept until the session would have expired, and dropped once more then: a writer that was slow
    when its session was aborted may have written chunks after they were dropped the first time.
    """

    data_id: str
    chunk_count: int
    expires_at: float


def session_value(upload: Upload) -> bytes:
    """A session as the store keeps it."""
    return _json(
        digest=upload.blob.digest,
        size=upload.blob.size,
        chunk_bytes=upload.blob.chunk_bytes,
        received=upload.received_bytes,
        expires_at=upload.expires_at,
    )


def session_from(upload_id: str, value: bytes) -> Upload:
    """What `session_value` wrote."""
    fields = json.loads(value)
    return Upload(
        upload_id=upload_id,
        blob=BlobInfo(fields["digest"], fields["size"], fields["chunk_bytes"]),
        received_bytes=fields["received"],
        expires_at=fields["expires_at"],
    )


def blob_value(upload: Upload) -> bytes:
    """A blob as the store keeps it once its session is finished."""
    return _json(data=upload.upload_id, size=upload.blob.size, chunk_bytes=upload.blob.chunk_bytes)


def blob_from(digest: str, value: bytes) -> StoredBlob:
    """What `blob_value` wrote."""
    fields = json.loads(value)
    return StoredBlob(BlobInfo(digest, fields["size"], fields["chunk_bytes"]), fields["data"])


def garbage_value(upload: Upload) -> bytes:
    """The chunks of a session as the store keeps them in mind until they are surely gone."""
    return _json(chunks=upload.blob.chunk_count, expires_at=upload.expires_at)


def dropped_blob_value(info: BlobInfo) -> bytes:
    """The chunks of a dropped blob: nobody writes to them any more."""
    return _json(chunks=info.chunk_count, expires_at=0)


def garbage_from(data_id: str, value: bytes) -> Garbage:
    """What `garbage_value` wrote."""
    fields = json.loads(value)
    return Garbage(data_id, fields["chunks"], fields["expires_at"])


def _json(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
