"""Every key that labelcast writes to Redis.

    labelcast:{labelcast}:uploads           hash  upload ID -> session (JSON)
    labelcast:{labelcast}:blobs             hash  digest -> where its chunks lie (JSON)
    labelcast:{labelcast}:garbage           hash  data ID -> chunks that are being dropped (JSON)
    labelcast:{labelcast}:label-sets        set   digests of all label sets
    labelcast:{labelcast}:label-set:<sha>   hash  manifest, state, created_at
    labelcast:{labelcast}:tags              hash  tag -> digest
    labelcast:{labelcast}:fence             written before publishing, to wait for the replicas
    labelcast:{<data ID>:<group>}:<number>  string, one chunk

    labelcast:{labelcast}:changes           channel: digests of label sets whose state changed

Control keys share one hash tag, so one script may touch all of them in a cluster too. Chunk keys
are tagged by groups, so that a cluster spreads one label set over its shards.

The data ID of a blob is the ID of the session that wrote it. Two sessions for one digest therefore
never meet, and finishing one is a single write to control keys: no key is ever renamed.
"""

from labelcast.identifiers import Digest, UploadId

CHUNKS_PER_GROUP = 64

_CONTROL = "labelcast:{labelcast}:"
UPLOADS = _CONTROL + "uploads"
BLOBS = _CONTROL + "blobs"
GARBAGE = _CONTROL + "garbage"
LABEL_SETS = _CONTROL + "label-sets"
TAGS = _CONTROL + "tags"
FENCE = _CONTROL + "fence"
CHANGES = _CONTROL + "changes"


def label_set_key(digest: Digest) -> str:
    """Key of one label set's record."""
    return f"{_CONTROL}label-set:{digest}"


def chunk_key(data_id: UploadId, number: int) -> str:
    """Key of one chunk."""
    return f"labelcast:{{{data_id}:{number // CHUNKS_PER_GROUP}}}:{number}"
