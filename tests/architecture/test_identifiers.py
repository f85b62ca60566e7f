"""Digests, tags and upload IDs are never mixed up, and nobody makes one unchecked."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAKES_ONE = re.compile(r"\b(Digest|Tag|UploadId)\(|\bcast\(\"?(Digest|Tag|UploadId)\b")
# Where text is checked, where an ID is drawn, and where the store reads back what it wrote.
HOMES = {
    "client/labelcast/identifiers.py",
    "server/labelcast_server/store/blob_store.py",
    "server/labelcast_server/store/redis/entries.py",
}
PROGRAM = """
from labelcast.identifiers import Digest, Tag, UploadId, is_digest, tag_from
from labelcast_server.store.blob_store import BlobInfo, BlobStore
from labelcast_server.store.catalog import Catalog, State

async def given(
    blobs: BlobStore, catalog: Catalog, digest: Digest, tag: Tag, upload: UploadId, text: str
) -> None:
    await blobs.blob(digest)
    await blobs.blob(tag)  # wrong
    await blobs.blob(text)  # wrong
    await blobs.blob(await catalog.resolve(text))
    await blobs.finish_upload(upload)
    await blobs.finish_upload(digest)  # wrong
    BlobInfo(upload, 1, 1)  # wrong
    await catalog.transition(digest, expected=State.STAGED, new=State.PUBLISHED, tag=tag)
    await catalog.transition(tag, expected=State.STAGED, new=State.PUBLISHED)  # wrong
    await catalog.transition(digest, expected=State.STAGED, new=State.PUBLISHED, tag=text)  # wrong
    (await catalog.tags())[tag_from(text)]
    (await catalog.tags())[digest]  # wrong
    if is_digest(text):
        await blobs.blob(text)
"""


def test_mypy_finds_one_given_for_another(tmp_path: Path) -> None:
    program = tmp_path / "mixed_up.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(program)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert not result.stderr
    found = {int(line) for line in re.findall(r"mixed_up\.py:(\d+): error", result.stdout)}
    lines = enumerate(PROGRAM.splitlines(), 1)
    assert found == {number for number, line in lines if line.endswith("# wrong")}, result.stdout


def test_they_are_made_where_they_are_checked() -> None:
    makers = {
        str(path.relative_to(ROOT))
        for folder in ("client", "server", "producers")
        for path in (ROOT / folder).rglob("*.py")
        if MAKES_ONE.search(path.read_text())
    }
    assert makers == HOMES
