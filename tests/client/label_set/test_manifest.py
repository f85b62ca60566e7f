"""Manifests are read strictly: one spelling, every field, nothing else."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast.errors import ContractMismatchError, LabelcastError, ManifestError
from labelcast.label_set import Expectation, Manifest, digest_of, policy_digest, to_canonical
from tests.factories.label_sets import make_label_set

JsonPath = tuple[str | int, ...]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    directory = tmp_path_factory.mktemp("label-set")
    label_set, _ = make_label_set(
        directory, "vqae", num_samples=12_000, num_seeds=2, shard_bytes=70_000, report={"kl": 1.0}
    )
    assert len(label_set.manifest.segments[0].codes.shards) > 1
    return label_set.manifest


@pytest.fixture(scope="module")
def tree(manifest: Manifest) -> Any:
    return json.loads(manifest.to_bytes())


def nodes(value: Any, path: JsonPath = ()) -> Iterator[tuple[JsonPath, Any]]:
    """Every node of a JSON tree with its path, the root first."""
    yield path, value
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from nodes(inner, (*path, name))
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from nodes(inner, (*path, number))


def at(tree: Any, path: JsonPath) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def changed(tree: Any, path: JsonPath, value: Any) -> Any:
    if not path:
        return value
    copied = copy.deepcopy(tree)
    at(copied, path[:-1])[path[-1]] = value
    return copied


def refused(tree: Any) -> bool:
    try:
        Manifest.from_bytes(to_canonical(tree))
    except ManifestError:
        return True
    return False


# `null` has a meaning in these places.
OPTIONAL = {"report", "hard_labels", "policy", "temperatures"}
OTHER_TYPES: list[Any] = [None, True, -1, 0.5, "text", [], {}, ["text"], {"text": 1}]


def test_round_trip(manifest: Manifest) -> None:
    content = manifest.to_bytes()
    assert Manifest.from_bytes(content) == manifest
    assert Manifest.from_bytes(content).to_bytes() == content
    assert manifest.digest == digest_of(content)


def test_every_field_is_needed(tree: Any) -> None:
    dropped = 0
    for path, value in nodes(tree):
        if isinstance(value, dict):
            for name in value:
                without = changed(tree, path, {k: v for k, v in value.items() if k != name})
                assert refused(without), (*path, name)
                dropped += 1
    assert dropped > 50


def test_no_other_field_is_taken(tree: Any) -> None:
    for path, value in nodes(tree):
        if isinstance(value, dict):
            assert refused(changed(tree, path, {**value, "another": 1})), path


def test_every_field_has_one_type(tree: Any) -> None:
    for path, value in nodes(tree):
        for other in OTHER_TYPES:
            if type(other) is type(value) and not isinstance(value, dict):
                continue
            if other is None and path and path[-1] in OPTIONAL:
                continue
            assert refused(changed(tree, path, other)), (path, other)


def test_lists_have_the_entries_that_add_up(tree: Any) -> None:
    for path, value in nodes(tree):
        if isinstance(value, list) and path[-1] != "crop_scale":
            assert refused(changed(tree, path, value[:-1])), path
            if path[-1] == "shards":
                assert refused(changed(tree, path, value + value[:1])), path


def test_numbers_out_of_bounds_or_out_of_step(tree: Any) -> None:
    for path, value in nodes(tree):
        if type(value) is int and "policy" not in path:
            wrong = [0, -1, 2**63, value + 1]
            # A codec's or report's size and the class count are checked against the content.
            free = path[0] in ("codec", "report") or path[-1] == "count"
            for number in wrong[:3] if free or path[-1] == "rows_per_chunk" else wrong:
                assert refused(changed(tree, path, number)), (path, number)


def test_digests_have_one_spelling(tree: Any) -> None:
    for path, value in nodes(tree):
        if isinstance(value, str) and value.startswith("sha256:"):
            for wrong in (value.upper(), value[:-1], value + "0", value[7:], "md5:" + value[7:]):
                assert refused(changed(tree, path, wrong)), (path, wrong)


def test_every_number_of_a_policy_has_one_spelling(tree: Any) -> None:
    path = ("contract", "augmentation", "policy")
    for name, value in at(tree, path).items():
        if type(value) is float:
            assert refused(changed(tree, (*path, name), int(value))), name
    assert refused(changed(tree, (*path, "crop_scale"), ["0.5", "1.0"]))
    assert refused(changed(tree, (*path, "crop_scale"), [0.5, 1]))


def test_names_can_be_shown(tree: Any) -> None:
    path = ("contract", "teacher", "name")
    for name in ("\x1b[2J", "two\nlines", "\0", "\ud800", "\udc00\ud800", "x" * 1025):
        assert refused(changed(tree, path, name)), name
    for name in ("", "größer", "教師", "🙂"):
        assert not refused(changed(tree, path, name)), name


def test_digests_within_the_manifest_agree(tree: Any) -> None:
    other = "sha256:" + "0" * 64
    for path in (
        ("contract", "codec"),
        ("codec", "digest"),
        ("contract", "augmentation", "digest"),
    ):
        assert refused(changed(tree, path, other)), path


def test_a_policy_is_optional_and_pinned(manifest: Manifest) -> None:
    plain = replace(manifest, contract=replace(manifest.contract, policy=None))
    assert Manifest.from_bytes(plain.to_bytes()) == plain
    assert plain.digest != manifest.digest


def test_every_truncation_is_refused(manifest: Manifest) -> None:
    content = manifest.to_bytes()
    for length in range(0, len(content), 7):
        with pytest.raises(ManifestError):
            Manifest.from_bytes(content[:length])
    with pytest.raises(ManifestError):
        Manifest.from_bytes(content[:-1])


def test_other_spellings_of_the_same_value_are_refused(tree: Any, manifest: Manifest) -> None:
    content = manifest.to_bytes()
    text = content.decode()
    spellings = [
        json.dumps(tree, sort_keys=True).encode(),
        json.dumps(tree, separators=(",", ":"), sort_keys=False).encode(),
        json.dumps(dict(reversed(tree.items())), separators=(",", ":")).encode(),
        content + b"\n",
        b" " + content,
        b"\xef\xbb\xbf" + content,
        text.encode("utf-16"),
        text.replace('"codec"', '"\\u0063odec"').encode(),
        text.replace(":1.0", ":1.00").encode(),
        text.replace(":1.0", ":1e0").encode(),
        text.replace('"key":7', '"key":7.0').encode(),
        (text[:-1] + ',"format":"labelcast/label-set/1"}').encode(),
        text.replace('"report":', '"report":null,"report":').encode(),
    ]
    canonical_twin = json.dumps(tree, separators=(",", ":"), sort_keys=False).encode() == content
    for spelling in spellings:
        if spelling == content and canonical_twin:
            continue
        with pytest.raises(ManifestError):
            Manifest.from_bytes(spelling)


@pytest.mark.parametrize(
    "content",
    [
        b"null",
        b"[]",
        b"1",
        b'""',
        b"{}",
        b"NaN",
        b'{"format":NaN}',
        b'{"format":Infinity}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\xff",
        b"1" * 10_000,
    ],
)
def test_what_is_no_manifest_at_all(content: bytes) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_bytes(content)


def test_size_is_checked_before_parsing() -> None:
    with pytest.raises(ManifestError, match="at most"):
        Manifest.from_bytes(b" " * (16 * 2**20 + 1))


@given(data=st.data())
def test_a_flipped_bit_never_passes_for_the_same_label_set(
    manifest: Manifest, data: st.DataObject
) -> None:
    content = bytearray(manifest.to_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = Manifest.from_bytes(bytes(content))
    except LabelcastError as error:
        assert isinstance(error, ManifestError)  # noqa: PT017 - only some flips are refused
    else:
        assert read.to_bytes() == bytes(content)
        assert read.digest != manifest.digest


def test_expectations_name_the_field_that_differs(manifest: Manifest) -> None:
    contract = manifest.contract
    right: dict[str, Any] = {
        "teacher": contract.teacher,
        "dataset": contract.dataset,
        "class_list": contract.class_list,
        "num_classes": contract.num_classes,
        "augmentation": policy_digest(contract.policy),
        "label_kind": contract.label_kind,
        "codec": contract.codec,
        "temperature": 2.0,
    }
    contract.require(Expectation())
    contract.require(Expectation(**right))
    for field, value in right.items():
        contract.require(Expectation(**{field: value}))
        wrong: Any = {
            "num_classes": 11,
            "label_kind": "probabilities",
            "temperature": 4.5,
        }.get(field, digest_of(b"another"))
        with pytest.raises(ContractMismatchError) as caught:
            contract.require(Expectation(**right | {field: wrong}))
        assert caught.value.facts["field"] == field
        assert caught.value.facts["expected"] == str(wrong)


def test_temperatures(manifest: Manifest) -> None:
    contract = manifest.contract
    for temperature in (1.0, 2.5, 4.0):
        contract.require_temperature(temperature)
    for temperature in (0.999, 4.001, 0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ContractMismatchError):
            contract.require_temperature(temperature)
    replace(contract, temperatures=None).require_temperature(100.0)
