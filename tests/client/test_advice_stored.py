"""Advice on label sets as they are stored is tried, as in test_advice.py beside this."""

import errno
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import labelcast
from labelcast import Views
from labelcast.files import write_whole
from labelcast.identifiers import Digest
from labelcast.label_set import Expectation, Manifest, digest_of, from_canonical, to_canonical
from labelcast.label_set.fingerprints import FingerprintKind
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from tests.factories.advice import Case, try_advice
from tests.factories.label_sets import MIXING_POLICY, make_label_set, with_fingerprints
from tests.factories.odd_file_systems import without_fsync

Made: TypeAlias = tuple[LabelSetDirectory, LabelSetDirectory, LabelSetDirectory]
SAMPLE = 10**12
VIEWS = Views.of([SAMPLE, SAMPLE + 7], 0)


@dataclass(frozen=True)
class Shelf:
    """Label sets that nobody changes, and an empty directory of each test's own."""

    plain: LabelSetDirectory
    conditioned: LabelSetDirectory
    fingerprinted: LabelSetDirectory
    directory: Path

    def changed(self, label_set: LabelSetDirectory, **contract: Any) -> LabelSetDirectory:
        """A label set whose contract says something else."""
        manifest = label_set.manifest
        for ref in manifest.blobs().values():
            LabelSetDirectoryWriter(self.directory).add_blob(label_set.read_blob(ref))
        told = replace(manifest, contract=replace(manifest.contract, **contract))
        LabelSetDirectoryWriter(self.directory).finish(told)
        return LabelSetDirectory(self.directory)

    def made_again(self) -> LabelSetDirectory:
        """A label set, over whatever the directory holds."""
        return make_label_set(self.directory)[0]

    def with_damaged_shard(self) -> LabelSetDirectory:
        label_set = self.made_again()
        (shard,) = label_set.manifest.segments[0].codes.shards
        path = label_set.path(shard.data)
        path.write_bytes(path.read_bytes()[::-1])
        return LabelSetDirectory(self.directory)


def with_chunks_of(label_set: LabelSetDirectory, rows: int) -> Manifest:
    """A manifest whose codes come in chunks of so many rows."""
    content: Any = from_canonical(label_set.manifest.to_bytes(), "a manifest", max_bytes=2**20)
    content["segments"][0]["codes"]["rows_per_chunk"] = rows
    return Manifest.from_bytes(to_canonical(content))


def expected(label_set: LabelSetDirectory, dataset: Digest) -> object:
    return labelcast.open(label_set.directory, expect=Expectation(dataset=dataset))


CASES: list[Case[Shelf]] = [
    Case(
        "is damaged in chunk 0; encode or pull the label set again",
        lambda at: at.with_damaged_shard().gather(VIEWS),
        lambda at: at.made_again().gather(VIEWS),
    ),
    Case(
        "chunks of 72020 bytes are too large; use at most 3275 rows a chunk",
        lambda at: with_chunks_of(at.plain, 3601),
        lambda at: with_chunks_of(at.plain, 3275),
    ),
    Case(
        "so that its codes would decode to other labels; make it again",
        lambda at: at.changed(at.conditioned, policy=replace(MIXING_POLICY, key=8)).decoder(),
        lambda at: make_label_set(at.directory, "vqae-context")[0].decoder(),
    ),
    Case(
        "contract.dataset is not the digest of the fingerprints beside it; make the label set"
        " again",
        lambda at: at.changed(at.fingerprinted, dataset=digest_of(b"another")).fingerprints(),
        lambda at: with_fingerprints(at.made_again(), FingerprintKind.PIXELS).fingerprints(),
    ),
    Case(
        "use the label set that was made for it",
        lambda at: expected(at.fingerprinted, at.plain.contract.dataset),
        lambda at: expected(at.plain, at.plain.contract.dataset),
    ),
    Case(
        "decode with label_set.decoder().decode(rows, views)",
        lambda at: at.conditioned.codec().decode(at.conditioned.gather(VIEWS)),
        lambda at: at.conditioned.decoder().decode(at.conditioned.gather(VIEWS), VIEWS),
    ),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    at = tmp_path_factory.mktemp("made")
    return (
        make_label_set(at / "plain")[0],
        make_label_set(at / "conditioned", "vqae-context")[0],
        with_fingerprints(make_label_set(at / "fingerprinted")[0], FingerprintKind.PIXELS),
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Shelf], made: Made, tmp_path: Path) -> None:
    try_advice(case, Shelf(*made, tmp_path))


def test_a_file_system_without_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd").mkdir()
    without_fsync(monkeypatch, errno.EINVAL, below=tmp_path / "odd")
    case = Case[Path](
        "choose a directory on another one",
        lambda at: write_whole(at / "odd" / "file", b"content"),
        lambda at: write_whole(at / "file", b"content"),
    )
    try_advice(case, tmp_path)
