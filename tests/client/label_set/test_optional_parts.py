"""What later versions add: parts are carried, features that nobody knows are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast.errors import ManifestError
from labelcast.label_set import Manifest, to_canonical
from tests.factories.label_sets import make_label_set, make_label_set_with_parts


def test_parts_are_read_back_and_count_as_blobs(tmp_path: Path) -> None:
    label_set = make_label_set_with_parts(tmp_path)
    (name, tokenizer), (segment,) = label_set.manifest.parts[0], label_set.manifest.segments
    assert (name, label_set.read_blob(tokenizer)) == ("tokenizer", b"a tokenizer")
    prints = segment.sections()["parts.fingerprints"]
    assert (
        label_set.rows(prints).tolist() == np.arange(400).astype(np.uint8).reshape(50, 8).tolist()
    )
    blobs = label_set.manifest.blobs()
    assert {tokenizer.digest, *(ref.digest for ref in prints.blobs())} <= blobs.keys()
    assert Manifest.from_bytes(label_set.manifest.to_bytes()) == label_set.manifest


def test_sets_without_them_are_spelled_as_if_there_were_none(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    assert not {"parts", "requires"} & json.loads(label_set.manifest.to_bytes()).keys()


def test_a_feature_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    needing = replace(label_set.manifest, requires=("ragged_rows", "vocabulary"))
    with pytest.raises(
        ManifestError, match=r"requires ragged_rows, vocabulary, .* newer"
    ) as caught:
        Manifest.from_bytes(needing.to_bytes())
    assert caught.value.facts == {"features": "ragged_rows,vocabulary"}


def test_what_else_is_new_in_a_manifest_that_requires_more_is_not_called_malformed(
    tmp_path: Path,
) -> None:
    label_set, _ = make_label_set(tmp_path)
    tree = json.loads(label_set.manifest.to_bytes()) | {"requires": ["later"], "unheard_of": 1}
    with pytest.raises(ManifestError, match="install a newer one"):
        Manifest.from_bytes(to_canonical(tree))


@pytest.mark.parametrize(
    "change",
    [
        {"parts": {}},
        {"parts": []},
        {"parts": {"Upper": {"digest": "sha256:" + "0" * 64, "size": 1}}},
        {"parts": {"a" * 65: {"digest": "sha256:" + "0" * 64, "size": 1}}},
        {"parts": {"blob": {"digest": "sha256:" + "0" * 64, "size": -1}}},
        {"parts": {f"p{at}": {"digest": "sha256:" + "0" * 64, "size": 1} for at in range(257)}},
        {"requires": []},
        {"requires": "later"},
        {"requires": [1]},
        {"requires": ["b", "a"]},
        {"requires": ["a", "a"]},
        {"requires": ["A"]},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_malformed_parts_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    label_set, _ = make_label_set(tmp_path)
    tree = json.loads(label_set.manifest.to_bytes()) | change
    with pytest.raises(ManifestError, match=r"parts|requires|names|size"):
        Manifest.from_bytes(to_canonical(tree))
