"""Fetches a whole label set into a directory, for decoding without a network."""

from pathlib import Path

from labelcast.errors import DigestMismatchError
from labelcast.files import file_digest, whole_file
from labelcast.label_set import BlobRef
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter, blob_path
from labelcast.opening.parts.label_set_parts import LabelSetFacts
from labelcast.progress import Progress, unwatched
from labelcast.remote.client import LabelClient


def pull(
    client: LabelClient,
    reference: str,
    directory: Path,
    *,
    progress: Progress = unwatched,
) -> LabelSetDirectory:
    """Fetch every blob of a label set; existing blobs are kept.

    Args:
        client: client of the service.
        reference: tag or digest.
        directory: directory for the label set; finished once it holds the manifest.
        progress: called as bytes arrive.

    Raises:
        DigestMismatchError: a blob does not match the manifest, on its way or where the service
            keeps it; it is not kept.
        Otherwise as `LabelClient.open` and `LabelClient.blob`.
    """
    label_set = client.open(reference)
    writer = LabelSetDirectoryWriter(directory)
    refs = list(label_set.manifest.blobs().values())
    total, done = sum(ref.size for ref in refs), 0
    progress(0, total)
    for ref in refs:
        path = blob_path(directory, ref.digest)
        if not path.is_file() or file_digest(path) != ref.digest:
            _fetch(client, label_set, ref, path)
        done += ref.size
        progress(done, total)
    writer.finish(label_set.manifest)
    return LabelSetDirectory(directory)


def _fetch(client: LabelClient, label_set: LabelSetFacts, ref: BlobRef, path: Path) -> None:
    with whole_file(path) as partial:
        damaged = None
        for _ in range(2):
            with partial.open("wb") as stream:
                stream.writelines(client.blob(label_set, ref))
            found = file_digest(partial)
            if found == ref.digest:
                return
            if found == damaged:
                # A network would hardly do the same damage twice.
                raise DigestMismatchError(
                    f"the service keeps blob {ref.digest} damaged, as two fetches agree; push the"
                    " label set there again, then pull",
                    expected=ref.digest,
                    actual=found,
                )
            damaged = found
        raise DigestMismatchError(
            f"blob {ref.digest} came damaged twice, each time otherwise; pull again",
            expected=ref.digest,
        )
