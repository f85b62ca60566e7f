"""A push is refused whose fingerprints are not those of its data set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelcast.errors import ManifestError
from labelcast.label_set import Manifest
from labelcast.label_set.fingerprints import READING_PART, FingerprintKind
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from labelcast_server.store.memory import memory_store
from tests.factories.label_sets import make_label_set, with_fingerprints
from tests.factories.pushed import push


async def pushed(manifest: Manifest, directory: Path) -> None:
    LabelSetDirectoryWriter(directory).finish(manifest)
    await push(memory_store(), LabelSetDirectory(directory))


@pytest.mark.parametrize("kind", FingerprintKind)
async def test_those_of_the_data_set_are_taken(tmp_path: Path, kind: FingerprintKind) -> None:
    label_set = with_fingerprints(make_label_set(tmp_path)[0], kind)
    await pushed(label_set.manifest, tmp_path)


@pytest.mark.parametrize("kind", FingerprintKind)
async def test_other_fingerprints_are_refused(tmp_path: Path, kind: FingerprintKind) -> None:
    manifest = with_fingerprints(make_label_set(tmp_path)[0], kind).manifest
    writer, (segment,) = LabelSetDirectoryWriter(tmp_path), manifest.segments
    other = writer.add_column(np.arange(segment.sample_ids.rows), "<u8")
    changed = replace(segment, parts=((kind.part, other),))
    with pytest.raises(ManifestError, match="not the digest of the fingerprints"):
        await pushed(replace(manifest, segments=(changed,)), tmp_path)


async def test_another_way_to_read_files_is_another_data_set(tmp_path: Path) -> None:
    manifest = with_fingerprints(make_label_set(tmp_path)[0], FingerprintKind.FILES).manifest
    grey = b'{"decoding":"L","format":"labelcast/file-reading/1","sample_ids":"position"}'
    for content, message in ((grey, "not the digest"), (b"{}", "format is missing")):
        ref = LabelSetDirectoryWriter(tmp_path).add_blob(content)
        with pytest.raises(ManifestError, match=message):
            await pushed(replace(manifest, parts=((READING_PART, ref),)), tmp_path)
