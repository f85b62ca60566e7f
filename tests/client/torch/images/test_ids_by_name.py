"""Sample IDs by name stay what they are, whatever other images there are."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from labelcast.errors import InvalidRequestError
from labelcast.torch import ImageFolder
from labelcast.torch.images import ids_by_name as module
from labelcast.torch.images.ids_by_name import ids_by_name
from tests.factories import folders


def test_ids_are_what_they_were() -> None:
    found = ids_by_name(["n01440764/n01440764_10026.JPEG", "ash/0.png"])
    assert found.dtype == np.uint64
    assert found.tolist() == [5326630863706490435, 3060178338005469454]


def test_they_fit_a_signed_integer() -> None:
    assert int(ids_by_name([f"a/{number}" for number in range(2000)]).max()) < 2**63


def test_other_images_do_not_change_an_id(tmp_path: Path) -> None:
    root = folders.write_digits(tmp_path / "digits")
    before = ImageFolder(root, ids="name")
    known = dict(zip(before.paths, before.sample_ids.tolist(), strict=True))
    assert before.reading.sample_ids == "name"
    folders.without_first_image(root)
    folders.with_a_class_more(root)
    after = ImageFolder(root, ids="name")
    assert len(after) == 59 + 6
    for path, sample_id in zip(after.paths, after.sample_ids.tolist(), strict=True):
        assert known.get(path, sample_id) == sample_id


def test_one_name_spelled_in_two_ways_has_one_id() -> None:
    composed = "café/é.png"
    taken_apart = unicodedata.normalize("NFD", composed)
    assert composed != taken_apart
    assert ids_by_name([composed]).tolist() == ids_by_name([taken_apart]).tolist()
    with pytest.raises(InvalidRequestError, match="one sample ID by name"):
        ids_by_name([composed, taken_apart])


def test_names_that_are_no_text_have_ids() -> None:
    assert len(ids_by_name(["a/\udcff.png", "a/\udcfe.png"])) == 2


def test_a_collision_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_id_of", lambda _: 7)
    with pytest.raises(InvalidRequestError, match=r"'a/1' and 'a/2' have one sample ID.* position"):
        ids_by_name(["a/1", "a/2"])


def test_only_two_kinds_of_ids_are_known(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match='"position" or "name"'):
        ImageFolder(folders.write_digits(tmp_path / "d"), ids="size")  # type: ignore[arg-type]
