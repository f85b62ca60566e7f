"""What the store writes into Redis, key by key: other versions read it, so no byte may change."""

from typing import Any

from redis import Redis

from labelcast.identifiers import Tag, UploadId
from labelcast_server.store.blob_store import BlobInfo, Upload
from labelcast_server.store.catalog import LabelSetRecord, State
from labelcast_server.store.store import Store
from tests.server.store.blobs import NEVER, cut, digest

CONTENT = b"twenty-three bytes long"
MANIFESTS = (b"one", b"two", b"three")


def session(upload_id: UploadId, content: bytes = CONTENT) -> Upload:
    return Upload(upload_id, BlobInfo(digest(content), len(content), 10), 0, NEVER)


async def test_every_key_is_written_as_it_always_was(redis_store: Store, redis_url: str) -> None:
    for upload_id in map(UploadId, ("finished", "again", "begun", "aborted", "dropped")):
        content = b"damaged" if upload_id == "dropped" else CONTENT
        await redis_store.blobs.begin_upload(session(upload_id, content))
        pieces = cut(content, 10)[: 2 if upload_id == "begun" else None]
        await redis_store.blobs.append_chunks(upload_id, 0, pieces)
    for upload_id in map(UploadId, ("finished", "again", "dropped")):
        await redis_store.blobs.finish_upload(upload_id)
    await redis_store.blobs.abort_upload(UploadId("aborted"))
    await redis_store.blobs.drop_blob(digest(b"damaged"))
    for number, manifest in enumerate(MANIFESTS):
        record = LabelSetRecord(digest(manifest), manifest, State.STAGED, 1.5 + number)
        await redis_store.catalog.put_label_set(record)
    for manifest, tag in ((MANIFESTS[0], "mine:v1"), (MANIFESTS[1], "mine:v2")):
        await redis_store.catalog.transition(
            digest(manifest), expected=State.STAGED, new=State.PUBLISHED, tag=Tag(tag)
        )
    await redis_store.catalog.transition(
        digest(MANIFESTS[1]), expected=State.PUBLISHED, new=State.RETIRED
    )

    announced = f'"digest":"{digest(CONTENT)}","size":23,"chunk_bytes":10'
    states = ("published", "retired", "staged")
    assert everything_in(redis_url) == {
        "labelcast:{finished:0}:0": b"twenty-thr",
        "labelcast:{finished:0}:1": b"ee bytes l",
        "labelcast:{finished:0}:2": b"ong",
        "labelcast:{begun:0}:0": b"twenty-thr",
        "labelcast:{begun:0}:1": b"ee bytes l",
        "labelcast:{labelcast}:uploads": {
            b"begun": f'{{{announced},"received":20,"expires_at":4000000000.0}}'.encode(),
        },
        "labelcast:{labelcast}:blobs": {
            digest(CONTENT).encode(): b'{"data":"finished","size":23,"chunk_bytes":10}',
        },
        "labelcast:{labelcast}:garbage": {
            b"again": b'{"chunks":3,"expires_at":4000000000.0}',
            b"aborted": b'{"chunks":3,"expires_at":4000000000.0}',
            b"dropped": b'{"chunks":1,"expires_at":0}',
        },
        "labelcast:{labelcast}:label-sets": {digest(one).encode() for one in MANIFESTS},
        **{
            f"labelcast:{{labelcast}}:label-set:{digest(manifest)}": {
                b"manifest": manifest,
                b"state": state.encode(),
                b"created_at": f"{1.5 + number}".encode(),
            }
            for number, (manifest, state) in enumerate(zip(MANIFESTS, states, strict=True))
        },
        "labelcast:{labelcast}:tags": {b"mine:v1": digest(MANIFESTS[0]).encode()},
    }


def everything_in(url: str) -> dict[str, Any]:
    """Every key of a Redis with its value."""
    with Redis.from_url(url) as client:
        read = {b"string": client.get, b"hash": client.hgetall, b"set": client.smembers}
        return {key.decode(): read[client.type(key)](key) for key in client.scan_iter()}
