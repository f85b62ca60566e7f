"""Which label sets may have a conditioned codec, and what a manifest says of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.codec import (
    CodecHeader,
    LabelKind,
    Precision,
    RawCodec,
)
from labelcast.context.view_context import ViewContext
from labelcast.errors import CodecFormatError, ManifestError, ViewNotFoundError
from labelcast.label_set import ContextRef, Manifest, RowOrder, digest_of, to_canonical
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from labelcast.views import Views
from tests.factories.decoded import assert_decoded, assert_same_labels
from tests.factories.label_sets import CodecName, context_of, make_label_set

SAMPLES, SEEDS = 60, 3


@pytest.fixture
def label_set(tmp_path: Path) -> LabelSetDirectory:
    made, _ = make_label_set(tmp_path, "vqae-context", num_samples=SAMPLES, num_seeds=SEEDS)
    return made


def declared(manifest: Manifest, context: ContextRef | None) -> Manifest:
    return replace(manifest, contract=replace(manifest.contract, context=context))


def with_second_segment(label_set: LabelSetDirectory, **changes: Any) -> Manifest:
    """A manifest whose second segment has other seeds, and whatever else is asked for."""
    (segment,) = label_set.manifest.segments
    writer = LabelSetDirectoryWriter(label_set.path(label_set.manifest.codec).parents[1])
    seeds = writer.add_column([100, 200, 300], "<u4")
    columns: dict[str, Any] = {
        name: None if column is None else writer.add_column(*column)
        for name, column in changes.items()
    }
    other = replace(segment, seeds=seeds, **columns)
    return replace(label_set.manifest, segments=(segment, other))


def test_the_contract_declares_the_context_and_survives(label_set: LabelSetDirectory) -> None:
    manifest = label_set.manifest
    rows = context_of(label_set)
    assert rows is not None
    assert len(rows) < 4096
    # Few enough rows that the digest covers all of them.
    expected = {"name": "view/1", "digest": digest_of(rows.tobytes())}
    assert json.loads(manifest.to_bytes())["contract"]["context"] == expected
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    manifest.require_codec(label_set.codec())


@pytest.mark.parametrize("codec", ["raw", "topk", "vqae"])
def test_a_manifest_without_context_is_written_as_it_always_was(
    tmp_path: Path, codec: CodecName
) -> None:
    label_set, labels = make_label_set(tmp_path, codec)
    contract = json.loads(label_set.manifest.to_bytes())["contract"]
    assert set(contract) == {
        *("teacher", "dataset", "classes", "augmentation"),
        *("label_kind", "temperatures", "codec"),
    }
    decoder = label_set.decoder()
    assert decoder.context is None
    views = label_set.index().segments[0].views()
    assert_decoded(label_set.codec(), decoder.decode(label_set.gather(views), views), labels)


def test_a_context_that_the_contract_hides_is_refused(label_set: LabelSetDirectory) -> None:
    with pytest.raises(ManifestError, match="declares no context, but the codec is condit"):
        declared(label_set.manifest, None).require_codec(label_set.codec())


@pytest.mark.parametrize("codec", ["raw", "topk", "vqae"])
def test_a_context_that_the_codec_does_not_take_is_refused(
    tmp_path: Path, codec: CodecName
) -> None:
    label_set, _ = make_label_set(tmp_path, codec)
    with pytest.raises(ManifestError, match="declares a context, but the codec is not conditioned"):
        declared(label_set.manifest, ContextRef(digest_of(b""))).require_codec(label_set.codec())


@pytest.mark.parametrize("name", ["view/2", "", "view", "VIEW/1", None, 1, True, ["view/1"], {}])
def test_an_unknown_context_is_refused(label_set: LabelSetDirectory, name: object) -> None:
    tree = json.loads(label_set.manifest.to_bytes())
    tree["contract"]["context"]["name"] = name
    with pytest.raises(ManifestError, match=r"contract\.context"):
        Manifest.from_bytes(to_canonical(tree))


@pytest.mark.parametrize("value", ["view/1", None, 1, True, [], {}, {"name": "view/1"}])
def test_a_context_of_another_form_is_refused(label_set: LabelSetDirectory, value: object) -> None:
    tree = json.loads(label_set.manifest.to_bytes())
    tree["contract"]["context"] = value
    with pytest.raises(ManifestError, match=r"contract\.context"):
        Manifest.from_bytes(to_canonical(tree))


def test_other_hard_labels_views_or_derivations_are_refused(label_set: LabelSetDirectory) -> None:
    manifest = label_set.manifest
    (segment,) = manifest.segments
    writer = LabelSetDirectoryWriter(label_set.directory)
    assert segment.hard_labels is not None
    hard = label_set.column(segment.hard_labels, "<u4")
    swapped = replace(segment, hard_labels=writer.add_column((hard + 1) % 10, "<u4"))
    assert isinstance(manifest.contract.policy, AugmentationPolicy)
    policy = replace(manifest.contract.policy, key=manifest.contract.policy.key + 1)
    for other in (
        replace(manifest, segments=(swapped,)),
        replace(manifest, contract=replace(manifest.contract, policy=policy)),
        replace(manifest, contract=replace(manifest.contract, policy=None)),
        declared(manifest, ContextRef(digest_of(b"derived otherwise"))),
    ):
        writer.finish(other)
        with pytest.raises(ManifestError, match="give another context"):
            LabelSetDirectory(label_set.directory).decoder()


def test_segments_of_one_table_are_accepted(label_set: LabelSetDirectory) -> None:
    manifest = with_second_segment(label_set)
    manifest.require_codec(label_set.codec())
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


OTHER_IDS = (10**12 + 7 * np.arange(SAMPLES) + 1, "<u8")
OTHER_CLASSES = (np.arange(SAMPLES) % 3, "<u4")


@pytest.mark.parametrize(
    "changes",
    [{"sample_ids": OTHER_IDS}, {"hard_labels": OTHER_CLASSES}, {"hard_labels": None}],
    ids=["samples", "classes", "no classes"],
)
def test_a_segment_of_another_table_is_refused(
    label_set: LabelSetDirectory, changes: dict[str, Any]
) -> None:
    with pytest.raises(ManifestError, match=r"segments\[1\]: a conditioned codec needs"):
        with_second_segment(label_set, **changes).require_codec(label_set.codec())


def test_missing_hard_labels_are_refused(label_set: LabelSetDirectory, tmp_path: Path) -> None:
    (segment,) = label_set.manifest.segments
    bare = replace(label_set.manifest, segments=(replace(segment, hard_labels=None),))
    with pytest.raises(ManifestError, match=r"segments\[0\]: a conditioned codec needs hard"):
        bare.require_codec(label_set.codec())
    LabelSetDirectoryWriter(tmp_path).finish(bare)
    with pytest.raises(ManifestError, match="needs hard labels"):
        LabelSetDirectory(tmp_path).decoder()


def test_segments_of_other_codecs_may_have_other_tables(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, "vqae", num_samples=SAMPLES, num_seeds=SEEDS)
    for changes in ({"sample_ids": OTHER_IDS}, {"hard_labels": None}):
        with_second_segment(label_set, **changes).require_codec(label_set.codec())


@pytest.mark.parametrize("order", list(RowOrder))
def test_a_label_set_decodes_any_views_under_their_own_context(
    tmp_path: Path, order: RowOrder
) -> None:
    label_set, labels = make_label_set(
        tmp_path,
        "vqae-context",
        num_samples=20_000,
        num_seeds=2,
        shard_bytes=70_000,
        row_order=order,
    )
    decoder = label_set.decoder()
    (segment,) = label_set.manifest.segments
    assert segment.hard_labels is not None
    assert len(segment.hard_labels.shards) > 1
    views = label_set.index().segments[0].views()
    policy = label_set.manifest.contract.policy
    assert isinstance(policy, AugmentationPolicy)
    assert policy.mix is Mix.CUTMIX
    hard = np.arange(20_000) % 10
    context = ViewContext(policy, 10**12 + 7 * np.arange(20_000, dtype=np.uint64), hard)
    shuffled = np.random.default_rng(0).permutation(40_000)
    for chosen in (np.arange(40_000), shuffled[:500], shuffled[:0]):
        rows = label_set.gather(views[chosen])
        expected = label_set.codec().decode(rows, context.rows(views[chosen]))
        assert_same_labels(decoder.decode(rows, views[chosen]), expected)
        assert_same_labels(expected, labels[chosen])


def test_labels_under_the_context_of_other_views_are_others(label_set: LabelSetDirectory) -> None:
    """So that the tests above would notice a context that is taken from elsewhere."""
    context = context_of(label_set)
    assert context is not None
    rows = label_set.gather(label_set.index().segments[0].views())
    right = label_set.codec().decode(rows, context)
    wrong = label_set.codec().decode(rows, np.roll(context, 1, axis=0))
    assert np.abs(right - wrong).max(axis=1).min() > 0.01


def test_a_view_of_another_data_set_is_refused(label_set: LabelSetDirectory) -> None:
    rows = np.zeros((1, label_set.codec().row_stride), np.uint8)
    with pytest.raises(ViewNotFoundError):
        label_set.decoder().decode(rows, Views.of([5], 0))


def test_a_codec_without_its_context_decodes_nothing(label_set: LabelSetDirectory) -> None:
    rows = label_set.gather(label_set.index().segments[0].views())
    with pytest.raises(CodecFormatError, match="conditioned on context"):
        label_set.codec().decode(rows)


def test_whatever_else_must_agree_is_still_compared(label_set: LabelSetDirectory) -> None:
    other = RawCodec(CodecHeader(10, LabelKind.LOGITS, None), Precision.FP16)
    with pytest.raises(ManifestError, match="temperatures"):
        label_set.manifest.require_codec(other)
