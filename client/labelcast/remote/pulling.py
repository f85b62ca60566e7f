"""Fetching a whole label set into a bundle, to be decoded without a network."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from labelcast.directory import Bundle, BundleWriter, blob_path, file_digest
from labelcast.errors import DigestMismatchError
from labelcast.label_set import BlobRef
from labelcast.remote.client import LabelClient
from labelcast.remote.label_set import RemoteLabelSet


def pull(
    client: LabelClient,
    reference: str,
    directory: Path,
    *,
    on_bytes: Callable[[int, int], None] = lambda _done, _total: None,
) -> Bundle:
    """Fetch every blob of a label set; blobs that are there already are kept.

    Args:
        client: client of the service.
        reference: tag or digest.
        directory: of the bundle; finished only once the manifest is there.
        on_bytes: called with the bytes done and in all.

    Raises:
        DigestMismatchError: a blob is not what the manifest names; nothing of it is kept.
        As `LabelClient.open` and `LabelClient.blob`.
    """
    label_set = client.open(reference)
    writer = BundleWriter(directory)
    refs = list(label_set.manifest.blobs().values())
    total, done = sum(ref.size for ref in refs), 0
    for ref in refs:
        path = blob_path(directory, ref.digest)
        if not path.is_file() or file_digest(path) != ref.digest:
            _fetch(client, label_set, ref, path)
        done += ref.size
        on_bytes(done, total)
    writer.finish(label_set.manifest)
    return Bundle(directory)


def _fetch(client: LabelClient, label_set: RemoteLabelSet, ref: BlobRef, path: Path) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    hasher = hashlib.sha256()
    try:
        with partial.open("wb") as stream:
            for piece in client.blob(label_set, ref):
                hasher.update(piece)
                stream.write(piece)
        if "sha256:" + hasher.hexdigest() != ref.digest:
            raise DigestMismatchError(
                f"blob {ref.digest} came damaged; pull again", expected=ref.digest
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
