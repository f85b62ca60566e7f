"""A policy is read to the letter or not at all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.errors import ManifestError
from labelcast.label_set import to_canonical
from labelcast.label_set.contract import policy_digest

SHARES = st.floats(0, 1)
POLICIES = st.builds(
    AugmentationPolicy,
    view_height=st.integers(1, 2**14),
    view_width=st.integers(1, 2**14),
    rotation_degrees=st.floats(0, 180),
    crop_scale=st.tuples(st.floats(1e-4, 1), st.floats(1e-4, 1)).map(
        lambda ends: (min(ends), max(ends))
    ),
    crop_ratio=st.floats(1, 16),
    flip_probability=SHARES,
    mix=st.sampled_from([Mix.NONE, Mix.CUTMIX]),
    mix_probability=SHARES,
    key=st.integers(0, 2**64 - 1),
    patch_grid=st.integers(1, 4),
    mix_batch=st.just(0) | st.integers(2, 2**31),
)
POLICY = AugmentationPolicy(view_height=8, view_width=6)
FIELDS = sorted(POLICY.as_json())
NUMBERS = ("rotation_degrees", "crop_ratio", "flip_probability", "mix_probability")
INTEGERS = ("view_height", "view_width", "key")
NO_POLICIES: list[Any] = [None, [], "seeded/1", 1, True]


@given(POLICIES)
def test_a_policy_survives_its_canonical_json(policy: AugmentationPolicy) -> None:
    read = AugmentationPolicy.from_json(json.loads(to_canonical(policy.as_json())))
    assert read == policy
    assert policy_digest(read) == policy_digest(policy)


def test_integers_and_plain_strings_name_the_same_policy() -> None:
    written: Any = {"rotation_degrees": 15, "crop_scale": (1, 1), "crop_ratio": 1, "mix": "none"}
    policy = AugmentationPolicy(view_height=8, view_width=6, mix_probability=1, **written)
    spelled = AugmentationPolicy(view_height=8, view_width=6, rotation_degrees=15.0)
    assert policy_digest(policy) == policy_digest(spelled)
    assert policy.mix is Mix.NONE
    assert AugmentationPolicy.from_json(policy.as_json() | {"rotation_degrees": 15}) == spelled


def test_the_spelling_is_fixed() -> None:
    assert to_canonical(POLICY.as_json()) == (
        b'{"crop_ratio":1.0,"crop_scale":[1.0,1.0],"flip_probability":0.0,"key":0,"mix":"none",'
        b'"mix_probability":1.0,"policy":"seeded/1","rotation_degrees":0.0,"view_height":8,'
        b'"view_width":6}'
    )


def test_what_is_new_has_a_name_of_its_own() -> None:
    policy = AugmentationPolicy(view_height=8, view_width=6, patch_grid=2, mix_batch=100)
    assert to_canonical(policy.as_json()) == (
        b'{"crop_ratio":1.0,"crop_scale":[1.0,1.0],"flip_probability":0.0,"key":0,"mix":"none",'
        b'"mix_batch":100,"mix_probability":1.0,"patch_grid":2,"policy":"seeded/2",'
        b'"rotation_degrees":0.0,"view_height":8,"view_width":6}'
    )


@pytest.mark.parametrize("change", [{"patch_grid": 2}, {"mix_batch": 2}], ids=str)
def test_a_policy_has_one_spelling(change: dict[str, int]) -> None:
    plain = {"patch_grid": 1, "mix_batch": 0}
    with pytest.raises(ManifestError, match="'seeded/1'"):
        AugmentationPolicy.from_json(POLICY.as_json() | plain | {"policy": "seeded/2"})
    for name in ("seeded/1", "seeded/3"):
        with pytest.raises(ManifestError):
            AugmentationPolicy.from_json(POLICY.as_json() | plain | change | {"policy": name})
    value = POLICY.as_json() | plain | change | {"policy": "seeded/2"}
    assert AugmentationPolicy.from_json(value).as_json() == value
    for name in plain:
        for wrong in (1.0, True, "2", None):
            with pytest.raises(ManifestError, match=name):
                AugmentationPolicy.from_json(value | {name: wrong})


@pytest.mark.parametrize(
    ("field", "value"),
    [("patch_grid", 0), ("patch_grid", 5), ("mix_batch", -1), ("mix_batch", 1)],
)
def test_impossible_patches_and_batches_are_refused(field: str, value: Any) -> None:
    changes: Any = {field: value}
    with pytest.raises(ManifestError, match=f"{field} is {value}"):
        AugmentationPolicy(view_height=8, view_width=6, **changes)


def test_mixup_cannot_be_drawn() -> None:
    with pytest.raises(ManifestError, match="recorded views"):
        AugmentationPolicy(view_height=8, view_width=6, mix=Mix.MIXUP)


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_is_refused(name: str) -> None:
    value = POLICY.as_json()
    del value[name]
    with pytest.raises(ManifestError, match=name if name != "policy" else "unknown"):
        AugmentationPolicy.from_json(value)


@pytest.mark.parametrize("name", ["", "view_depth", "POLICY", "Mix"])
def test_an_added_field_is_refused(name: str) -> None:
    with pytest.raises(ManifestError, match="missing or unknown"):
        AugmentationPolicy.from_json(POLICY.as_json() | {name: 1})


@pytest.mark.parametrize("value", [None, True, "1", [], [1.0], {}, {"1": 1}, 10**400, -(10**400)])
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(ManifestError):
        AugmentationPolicy.from_json(POLICY.as_json() | {name: value})


@pytest.mark.parametrize("name", INTEGERS)
def test_a_float_is_no_integer(name: str) -> None:
    with pytest.raises(ManifestError, match=f"{name} must be an integer"):
        AugmentationPolicy.from_json(POLICY.as_json() | {name: 1.0})


@pytest.mark.parametrize(
    "ends",
    ["11", ["1", "1"], [True, True], [1.0], [0.1, 0.2, 0.3], {"0.5": 0, "1": 0}, [[0.5], 1.0]],
    ids=str,
)
def test_a_crop_scale_is_two_numbers(ends: object) -> None:
    with pytest.raises(ManifestError, match="crop_scale"):
        AugmentationPolicy.from_json(POLICY.as_json() | {"crop_scale": ends})


@pytest.mark.parametrize("value", NO_POLICIES, ids=repr)
def test_what_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(ManifestError):
        AugmentationPolicy.from_json(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1e-9, 1e9])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ManifestError, match=name):
        AugmentationPolicy.from_json(POLICY.as_json() | {name: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("view_height", 0),
        ("view_width", 2**14 + 1),
        ("key", -1),
        ("key", 2**64),
        ("crop_scale", [0.0, 1.0]),
        ("crop_scale", [9e-5, 1.0]),
        ("crop_scale", [0.9, 0.8]),
        ("crop_scale", [0.9, 1.1]),
        ("crop_scale", [float("nan"), 1.0]),
        ("crop_ratio", 0.99),
        ("crop_ratio", 16.5),
        ("rotation_degrees", 180.5),
        ("mix", "mixup"),
        ("mix", "CUTMIX"),
        ("policy", "seeded/2"),
    ],
)
def test_a_value_just_outside_is_refused(field: str, value: object) -> None:
    with pytest.raises(ManifestError):
        AugmentationPolicy.from_json(POLICY.as_json() | {field: value})
