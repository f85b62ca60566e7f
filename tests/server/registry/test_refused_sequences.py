"""Label sets of sequences whose lengths or heads are not what they claim: refused in one line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelcast.codec.latent import HeadDtype, HeadSpec
from labelcast.errors import (
    BlobNotFoundError,
    DigestMismatchError,
    LabelcastError,
    ManifestError,
)
from labelcast.identifiers import digest_from_hash
from labelcast.label_set import CHUNK_BYTES, BlobRef, Manifest, Section, digest_of
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from labelcast_server.store.memory import memory_store
from labelcast_server.store.store import Store
from tests.factories.pushed import chunk_bytes_of, push, services_over, upload
from tests.factories.sequence_sets import make_sequence_set
from tests.factories.state_sets import WIDTH, States

LENGTHS = (5, 1, 9, 3)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> LabelSetDirectory:
    return make_sequence_set(tmp_path_factory.mktemp("sound"), lengths=LENGTHS)[0]


def with_lengths(directory: Path, lengths: list[int]) -> Manifest:
    made, _ = make_sequence_set(directory, lengths=LENGTHS)
    (segment,) = made.manifest.segments
    column = LabelSetDirectoryWriter(directory).add_column(lengths, "<u4")
    parts = tuple(sorted((dict(segment.parts) | {"lengths": column}).items()))
    return replace(made.manifest, segments=(replace(segment, parts=parts),))


def lengths_of_other_rows(directory: Path) -> Manifest:
    return with_lengths(directory, [5, 2, 9, 3])


def an_empty_sequence(directory: Path) -> Manifest:
    return with_lengths(directory, [5, 0, 9, 4])


def a_length_of_gigabytes(directory: Path) -> Manifest:
    return with_lengths(directory, [5, 1, 2**32 - 1, 3])


def lengths_that_wrap_around(directory: Path) -> Manifest:
    # As uint32, they add up to the 18 that there are.
    return with_lengths(directory, [2**31, 2**31, 9, 9])


def a_length_too_few(directory: Path) -> Manifest:
    return with_lengths(directory, [5, 4, 9])


def bits_of_other_positions(directory: Path) -> Manifest:
    made, _ = make_sequence_set(directory, lengths=LENGTHS, labelled=np.arange(18) % 4 != 1)
    (segment,) = made.manifest.segments
    # One for each sample and position of the longest, as without lengths.
    bits = np.full((5, 1), 255, dtype=np.uint8)
    presence = LabelSetDirectoryWriter(directory).add_rows(1, [bits])
    return replace(made.manifest, segments=(replace(segment, presence=presence),))


def bits_after_the_last_position(directory: Path) -> Manifest:
    made, _ = make_sequence_set(directory, lengths=LENGTHS, labelled=np.arange(18) % 4 != 1)
    (segment,) = made.manifest.segments
    bits = np.full((3, 1), 255, dtype=np.uint8)
    presence = LabelSetDirectoryWriter(directory).add_rows(1, [bits])
    return replace(made.manifest, segments=(replace(segment, presence=presence),))


def head_section(directory: Path, rows: int) -> tuple[Manifest, Section]:
    made = States.make().write(directory, shipped=True)
    (part,) = States.make().head.parts
    cut = LabelSetDirectoryWriter(directory).add_rows(part.shape[1], [part[:rows]])
    return made.manifest, cut


def a_head_of_fewer_tokens(directory: Path) -> Manifest:
    manifest, cut = head_section(directory, 49)
    return replace(manifest, head=cut)


def a_head_that_was_cut(directory: Path) -> Manifest:
    """Of as many tokens as it should have, says the manifest; the blob is shorter."""
    manifest, cut = head_section(directory, 49)
    assert manifest.head is not None
    (whole,), (short,) = manifest.head.shards, cut.shards
    claimed = BlobRef(short.data.digest, whole.data.size)
    return replace(manifest, head=replace(manifest.head, shards=(replace(whole, data=claimed),)))


def a_head_that_was_not_sent(directory: Path) -> Manifest:
    manifest = States.make().write(directory, shipped=True).manifest
    assert manifest.head is not None
    (whole,) = manifest.head.shards
    absent = BlobRef(digest_from_hash(bytes(32)), whole.data.size)
    return replace(manifest, head=replace(manifest.head, shards=(replace(whole, data=absent),)))


def a_head_of_another_width(directory: Path) -> Manifest:
    manifest = States.make().write(directory, shipped=False).manifest
    language = manifest.contract.language
    assert language is not None
    spec = HeadSpec(digest=digest_of(b"another"), width=WIDTH // 2, dtype=HeadDtype.FP16)
    contract = replace(manifest.contract, language=replace(language, head=spec))
    return replace(manifest, contract=contract)


def no_head(directory: Path) -> Manifest:
    manifest = States.make().write(directory, shipped=False).manifest
    language = manifest.contract.language
    assert language is not None
    return replace(
        manifest, contract=replace(manifest.contract, language=replace(language, head=None))
    )


async def store_of(directory: Path, manifest: Manifest) -> Store:
    """A store with every blob of a directory."""
    store = memory_store()
    chunk_bytes = chunk_bytes_of(manifest)
    for path in (directory / "blobs").iterdir():
        content = path.read_bytes()
        digest = digest_of(content)
        await upload(store, digest, content, chunk_bytes.get(digest, CHUNK_BYTES))
    return store


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lengths_of_other_rows, "18 rows of codes for 19 views"),
        (an_empty_sequence, "lengths must say at least 1 for each sample"),
        (a_length_of_gigabytes, "seeds must be the positions of the longest sample"),
        (lengths_that_wrap_around, "seeds must be the positions of the longest sample"),
        (a_length_too_few, "lengths must be one row of 4 bytes a sample"),
        (bits_of_other_positions, "presence does not hold 18 bits"),
        (bits_after_the_last_position, "presence has bits beyond its last view"),
        (a_head_of_fewer_tokens, "head is not the one that its contract names"),
        (a_head_that_was_cut, "has 1176 bytes, not 1200"),
        (a_head_that_was_not_sent, "upload it first"),
        (a_head_of_another_width, "states of 12 channels, the contract names a head of 6"),
        (no_head, "states of 12 channels, the contract names no head"),
    ],
)
async def test_what_contradicts_itself_is_refused_in_one_line(
    tmp_path: Path, sound: LabelSetDirectory, make: Callable[[Path], Manifest], words: str
) -> None:
    manifest = make(tmp_path / "wrong")
    store = await store_of(tmp_path / "wrong", manifest)
    content = manifest.to_bytes()
    with pytest.raises(ManifestError) as caught:
        await services_over(store).publisher.stage(digest_of(content), content)
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert await store.catalog.label_sets() == []
    # It takes sound ones still, of the same blobs.
    await push(store, sound)


async def test_a_head_that_is_cut_on_its_way_is_no_blob(tmp_path: Path) -> None:
    made = States.make().write(tmp_path, shipped=True)
    assert made.manifest.head is not None
    (shard,) = made.manifest.head.shards
    store = memory_store()
    cut = made.read_blob(shard.data)[:-16]
    with pytest.raises(DigestMismatchError):
        await upload(store, shard.data.digest, cut, CHUNK_BYTES)
    with pytest.raises(BlobNotFoundError):
        await store.blobs.blob(shard.data.digest)


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda content: content[:-16], BlobNotFoundError),
        (lambda content: b"", BlobNotFoundError),
        (lambda content: b"x" + content[1:], DigestMismatchError),
    ],
    ids=["cut", "empty", "changed"],
)
def test_a_head_that_is_damaged_on_disk_decodes_nothing(
    tmp_path: Path, damage: Callable[[bytes], bytes], error: type[LabelcastError]
) -> None:
    made = States.make().write(tmp_path, shipped=True)
    assert made.manifest.head is not None
    path = made.path(made.manifest.head.shards[0].data)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    for read in (made.head, made.codec):
        with pytest.raises(error, match="encode or pull the label set again") as caught:
            read()
        assert "\n" not in caught.value.message
    # As the error says, with the same object.
    path.write_bytes(whole)
    assert made.head() is not None
