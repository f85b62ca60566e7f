"""A student's classes and samples are those that labels were made for, or it is refused."""

from typing import Any

import numpy as np
import pytest

from labelcast.augmentation import AugmentationPolicy, Mix, RecordedPolicy
from labelcast.errors import ContractMismatchError, MisalignedLabelsError
from labelcast.label_set import class_list_digest
from labelcast.label_set.student_side import UNCHECKED, Side, class_list_of, require_same_side

IDS = np.arange(10, dtype=np.uint64)
HARD = np.arange(10) % 3
NAMES = class_list_digest(["ash", "birch", "cedar"])
PLAIN = AugmentationPolicy(view_height=4, view_width=4)
MIXED = AugmentationPolicy(view_height=4, view_width=4, mix=Mix.CUTMIX)
REPLAYED = RecordedPolicy(view_height=4, view_width=4, mix=Mix.CUTMIX)


def side(**changes: Any) -> Side:
    known: dict[str, Any] = {
        "policy": PLAIN,
        "sample_ids": IDS,
        "hard_labels": HARD,
        "num_classes": 3,
        "class_list": NAMES,
    }
    return Side(**known | changes)


def test_the_same_side_is_the_same() -> None:
    require_same_side(side(), side())
    require_same_side(side(chosen=IDS[3:]), side())


@pytest.mark.parametrize("field", ["num_classes", "class_list", "sample_ids", "hard_labels"])
def test_what_one_side_does_not_know_is_not_compared(field: str) -> None:
    other: dict[str, Any] = {
        "num_classes": 4,
        "class_list": class_list_digest(["ash"]),
        "sample_ids": IDS + np.uint64(1),
        "hard_labels": HARD + 1,
    }
    for ours, theirs in (
        (side(**{field: other[field]}), side(**{field: UNCHECKED})),
        (side(**{field: UNCHECKED}), side(**{field: other[field]})),
    ):
        require_same_side(ours, theirs)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"num_classes": 4}, "num_classes", "of 3 classes, this data set has 4"),
        (
            {"class_list": class_list_digest(["ash", "cedar", "birch"])},
            "class_list",
            "other names, or in another order",
        ),
    ],
)
def test_other_classes_are_refused(changes: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ContractMismatchError, match=message) as caught:
        require_same_side(side(**changes), side())
    assert caught.value.facts["field"] == field


def test_labels_without_names_of_classes_say_so_by_their_numbers() -> None:
    numbers = class_list_digest(["0", "1", "2"])
    assert class_list_of(numbers, 3, from_images=False) is UNCHECKED
    assert class_list_of(numbers, 3, from_images=True) == numbers
    assert class_list_of(numbers, 4, from_images=False) == numbers
    assert class_list_of(NAMES, 3, from_images=False) == NAMES


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS[1:], "it is of 10 samples, this data set has 9"),
        (np.append(IDS, np.uint64(10)), "it is of 10 samples, this data set has 11"),
        (IDS + np.uint64(2), "of 10 sample IDs 2 are not in it"),
    ],
)
def test_other_samples_are_refused(ids: Any, message: str) -> None:
    hard = np.zeros(len(ids), np.int64)
    with pytest.raises(MisalignedLabelsError, match=message) as caught:
        require_same_side(side(sample_ids=ids, hard_labels=hard), side())
    moved = len(ids) == 11
    assert ("positions" in caught.value.message) is moved
    assert ("; name a part that is meant with sample_ids=" in caught.value.message) is not moved
    # Where images are compared, a part may be tried: no wrong label comes of it.
    with pytest.raises(MisalignedLabelsError, match="; name a part that is meant"):
        require_same_side(side(sample_ids=ids, hard_labels=hard, images_compared=True), side())


@pytest.mark.parametrize("count", [9, 11])
def test_positions_in_a_folder_that_changed_name_no_part(count: int) -> None:
    ids = np.arange(count, dtype=np.uint64)
    part: dict[str, Any] = {"sample_ids": ids, "hard_labels": UNCHECKED, "chosen": IDS[2:5]}
    with pytest.raises(MisalignedLabelsError, match=f"of 10 samples, this data set has {count}"):
        require_same_side(side(**part, images_compared=False), side())
    for compared in (True, UNCHECKED):
        require_same_side(side(**part, images_compared=compared), side())
    # IDs that are no positions name the same samples, whatever else is there.
    for own, theirs in ((ids + np.uint64(1), IDS), (ids, np.append(IDS, np.uint64(12)))):
        ours = side(**part | {"sample_ids": own}, images_compared=False)
        require_same_side(ours, side(sample_ids=theirs, hard_labels=UNCHECKED))
    whole = side(chosen=IDS[2:5], images_compared=False)
    require_same_side(whole, side())


def test_ids_of_another_kind_are_called_that() -> None:
    ours = side(sample_ids=IDS + np.uint64(100), id_scheme="position")
    with pytest.raises(MisalignedLabelsError, match=r"by name, yours by position: .* ids='name'"):
        require_same_side(ours, side(id_scheme="name"))
    # What they are called is no reason of its own.
    require_same_side(side(id_scheme="position"), side(id_scheme="name"))


def test_a_part_is_named_and_lies_within_the_labels() -> None:
    part = side(sample_ids=IDS[4:7], hard_labels=HARD[4:7], chosen=IDS[4:7])
    require_same_side(part, side())
    # A rank holds all samples and trains on some; a stage may be less than the folder.
    require_same_side(side(chosen=IDS[4:7]), side(sample_ids=IDS[2:8], hard_labels=HARD[2:8]))
    with pytest.raises(MisalignedLabelsError, match=r"no sample ID 8 \(2 of 5 are missing\)"):
        require_same_side(side(chosen=IDS[5:]), side(sample_ids=IDS[:8], hard_labels=HARD[:8]))


def test_partners_that_are_drawn_from_all_samples_need_all() -> None:
    part = side(policy=MIXED, sample_ids=IDS[4:7], hard_labels=HARD[4:7], chosen=IDS[4:7])
    with pytest.raises(MisalignedLabelsError, match=r"mix partners .* no part will do"):
        require_same_side(part, side(policy=MIXED))
    require_same_side(side(policy=MIXED, chosen=IDS[4:7]), side(policy=MIXED))


def test_recorded_partners_must_be_at_hand() -> None:
    require_same_side(
        side(policy=REPLAYED, chosen=IDS[:4]),
        side(policy=REPLAYED, sample_ids=IDS[:8], hard_labels=HARD[:8]),
    )
    part = side(policy=REPLAYED, sample_ids=IDS[:4], hard_labels=HARD[:4], chosen=IDS[:4])
    lacks = "this data set lacks sample ID 4 .* Restore what was added, removed or renamed since"
    with pytest.raises(MisalignedLabelsError, match=lacks) as caught:
        require_same_side(part, side(policy=REPLAYED))
    assert "one image more or less moves those of all that follow" in caught.value.message
    own = side(policy=REPLAYED, sample_ids=IDS[1:], hard_labels=HARD[1:], chosen=IDS[1:4])
    with pytest.raises(MisalignedLabelsError, match=r"lacks sample ID 0 .* labels were made$"):
        require_same_side(own, side(policy=REPLAYED))


def test_hard_labels_of_a_part_are_compared_by_sample() -> None:
    part = {"sample_ids": IDS[4:7], "chosen": IDS[4:7]}
    require_same_side(side(**part, hard_labels=HARD[4:7]), side())
    with pytest.raises(MisalignedLabelsError, match=r"other hard labels .* sample ID 5"):
        require_same_side(side(**part, hard_labels=HARD[4:7] * [1, 0, 1]), side())


def test_a_part_under_ids_of_another_kind_is_told_which() -> None:
    ours = side(sample_ids=IDS + np.uint64(100), chosen=IDS[:3] + np.uint64(100), id_scheme="name")
    with pytest.raises(MisalignedLabelsError, match=r"3 of 3 are missing\)\..* ids='position'"):
        require_same_side(ours, side(id_scheme="position"))
    with pytest.raises(MisalignedLabelsError, match="Check data set and sample IDs"):
        require_same_side(ours, side(id_scheme="name"))
