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
from labelcast.label_set_directory import Bundle, BundleWriter
from labelcast.views import Views
from tests.factories.decoded import assert_decoded, assert_same_labels
from tests.factories.label_sets import CodecName, context_of, make_bundle

SAMPLES, SEEDS = 60, 3


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    made, _ = make_bundle(tmp_path, "vqae-context", num_samples=SAMPLES, num_seeds=SEEDS)
    return made


def declared(manifest: Manifest, context: ContextRef | None) -> Manifest:
    return replace(manifest, contract=replace(manifest.contract, context=context))


def with_second_segment(bundle: Bundle, **changes: Any) -> Manifest:
    """A manifest whose second segment has other seeds, and whatever else is asked for."""
    (segment,) = bundle.manifest.segments
    writer = BundleWriter(bundle.path(bundle.manifest.codec).parents[1])
    seeds = writer.add_column([100, 200, 300], "<u4")
    columns: dict[str, Any] = {
        name: None if column is None else writer.add_column(*column)
        for name, column in changes.items()
    }
    other = replace(segment, seeds=seeds, **columns)
    return replace(bundle.manifest, segments=(segment, other))


def test_the_contract_declares_the_context_and_survives(bundle: Bundle) -> None:
    manifest = bundle.manifest
    rows = context_of(bundle)
    assert rows is not None
    assert len(rows) < 4096
    # Few enough rows that the digest covers all of them.
    expected = {"name": "view/1", "digest": digest_of(rows.tobytes())}
    assert json.loads(manifest.to_bytes())["contract"]["context"] == expected
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    manifest.require_codec(bundle.codec())


@pytest.mark.parametrize("codec", ["raw", "topk", "vqae"])
def test_a_manifest_without_context_is_written_as_it_always_was(
    tmp_path: Path, codec: CodecName
) -> None:
    bundle, labels = make_bundle(tmp_path, codec)
    contract = json.loads(bundle.manifest.to_bytes())["contract"]
    assert set(contract) == {
        *("teacher", "dataset", "classes", "augmentation"),
        *("label_kind", "temperatures", "codec"),
    }
    decoder, index = bundle.decoder(), bundle.index()
    assert decoder.context is None
    views = index.segments[0].views()
    assert_decoded(bundle.codec(), decoder.decode(bundle.gather(index, views), views), labels)


def test_a_context_that_the_contract_hides_is_refused(bundle: Bundle) -> None:
    with pytest.raises(ManifestError, match="declares no context, but the codec is condit"):
        declared(bundle.manifest, None).require_codec(bundle.codec())


@pytest.mark.parametrize("codec", ["raw", "topk", "vqae"])
def test_a_context_that_the_codec_does_not_take_is_refused(
    tmp_path: Path, codec: CodecName
) -> None:
    bundle, _ = make_bundle(tmp_path, codec)
    with pytest.raises(ManifestError, match="declares a context, but the codec is not conditioned"):
        declared(bundle.manifest, ContextRef(digest_of(b""))).require_codec(bundle.codec())


@pytest.mark.parametrize("name", ["view/2", "", "view", "VIEW/1", None, 1, True, ["view/1"], {}])
def test_an_unknown_context_is_refused(bundle: Bundle, name: object) -> None:
    tree = json.loads(bundle.manifest.to_bytes())
    tree["contract"]["context"]["name"] = name
    with pytest.raises(ManifestError, match=r"contract\.context"):
        Manifest.from_bytes(to_canonical(tree))


@pytest.mark.parametrize("value", ["view/1", None, 1, True, [], {}, {"name": "view/1"}])
def test_a_context_of_another_form_is_refused(bundle: Bundle, value: object) -> None:
    tree = json.loads(bundle.manifest.to_bytes())
    tree["contract"]["context"] = value
    with pytest.raises(ManifestError, match=r"contract\.context"):
        Manifest.from_bytes(to_canonical(tree))


def test_other_hard_labels_views_or_derivations_are_refused(bundle: Bundle) -> None:
    manifest = bundle.manifest
    (segment,) = manifest.segments
    writer = BundleWriter(bundle.directory)
    assert segment.hard_labels is not None
    hard = bundle.column(segment.hard_labels, "<u4")
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
            Bundle(bundle.directory).decoder()


def test_segments_of_one_table_are_accepted(bundle: Bundle) -> None:
    manifest = with_second_segment(bundle)
    manifest.require_codec(bundle.codec())
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


OTHER_IDS = (10**12 + 7 * np.arange(SAMPLES) + 1, "<u8")
OTHER_CLASSES = (np.arange(SAMPLES) % 3, "<u4")


@pytest.mark.parametrize(
    "changes",
    [{"sample_ids": OTHER_IDS}, {"hard_labels": OTHER_CLASSES}, {"hard_labels": None}],
    ids=["samples", "classes", "no classes"],
)
def test_a_segment_of_another_table_is_refused(bundle: Bundle, changes: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match=r"segments\[1\]: a conditioned codec needs"):
        with_second_segment(bundle, **changes).require_codec(bundle.codec())


def test_missing_hard_labels_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    (segment,) = bundle.manifest.segments
    bare = replace(bundle.manifest, segments=(replace(segment, hard_labels=None),))
    with pytest.raises(ManifestError, match=r"segments\[0\]: a conditioned codec needs hard"):
        bare.require_codec(bundle.codec())
    BundleWriter(tmp_path).finish(bare)
    with pytest.raises(ManifestError, match="needs hard labels"):
        Bundle(tmp_path).decoder()


def test_segments_of_other_codecs_may_have_other_tables(tmp_path: Path) -> None:
    bundle, _ = make_bundle(tmp_path, "vqae", num_samples=SAMPLES, num_seeds=SEEDS)
    for changes in ({"sample_ids": OTHER_IDS}, {"hard_labels": None}):
        with_second_segment(bundle, **changes).require_codec(bundle.codec())


@pytest.mark.parametrize("order", list(RowOrder))
def test_a_bundle_decodes_any_views_under_their_own_context(
    tmp_path: Path, order: RowOrder
) -> None:
    bundle, labels = make_bundle(
        tmp_path,
        "vqae-context",
        num_samples=20_000,
        num_seeds=2,
        shard_bytes=70_000,
        row_order=order,
    )
    decoder, index = bundle.decoder(), bundle.index()
    (segment,) = bundle.manifest.segments
    assert segment.hard_labels is not None
    assert len(segment.hard_labels.shards) > 1
    views = index.segments[0].views()
    policy = bundle.manifest.contract.policy
    assert isinstance(policy, AugmentationPolicy)
    assert policy.mix is Mix.CUTMIX
    hard = np.arange(20_000) % 10
    context = ViewContext(policy, 10**12 + 7 * np.arange(20_000, dtype=np.uint64), hard)
    shuffled = np.random.default_rng(0).permutation(40_000)
    for chosen in (np.arange(40_000), shuffled[:500], shuffled[:0]):
        rows = bundle.gather(index, views[chosen])
        expected = bundle.codec().decode(rows, context.rows(views[chosen]))
        assert_same_labels(decoder.decode(rows, views[chosen]), expected)
        assert_same_labels(expected, labels[chosen])


def test_labels_under_the_context_of_other_views_are_others(bundle: Bundle) -> None:
    """So that the tests above would notice a context that is taken from elsewhere."""
    index, context = bundle.index(), context_of(bundle)
    assert context is not None
    rows = bundle.gather(index, index.segments[0].views())
    right = bundle.codec().decode(rows, context)
    wrong = bundle.codec().decode(rows, np.roll(context, 1, axis=0))
    assert np.abs(right - wrong).max(axis=1).min() > 0.01


def test_a_view_of_another_data_set_is_refused(bundle: Bundle) -> None:
    rows = np.zeros((1, bundle.codec().row_stride), np.uint8)
    with pytest.raises(ViewNotFoundError):
        bundle.decoder().decode(rows, Views.of([5], 0))


def test_a_codec_without_its_context_decodes_nothing(bundle: Bundle) -> None:
    index = bundle.index()
    rows = bundle.gather(index, index.segments[0].views())
    with pytest.raises(CodecFormatError, match="conditioned on context"):
        bundle.codec().decode(rows)


def test_whatever_else_must_agree_is_still_compared(bundle: Bundle) -> None:
    other = RawCodec(CodecHeader(10, LabelKind.LOGITS, None), Precision.FP16)
    with pytest.raises(ManifestError, match="temperatures"):
        bundle.manifest.require_codec(other)
