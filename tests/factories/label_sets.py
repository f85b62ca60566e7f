"""Small label sets of every codec, for any test that needs one.

    label_set, labels = make_label_set(tmp_path, codec="vqae", num_samples=40, num_seeds=3)

`labels` is what every right reader must give for `label_set.index()`'s views in row order.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.codec import (
    Codec,
    CodecHeader,
    ContextShape,
    LabelKind,
    Labels,
    Precision,
    RawCodec,
    Recovery,
    Rows,
    TemperatureRange,
    TopKCodec,
    VqaeCodec,
    VqaeShape,
    pack_codes,
    write_artifact,
)
from labelcast.context.view_context import ViewContext
from labelcast.label_set import (
    SHARD_BYTES,
    ContextRef,
    GridIndex,
    LabelContract,
    Manifest,
    RowOrder,
    Segment,
    class_list_digest,
    digest_of,
    to_canonical,
)
from labelcast.label_set.control_views import CONTROL_PART, ControlImages, ControlViews
from labelcast.label_set.fingerprints import (
    READING_PART,
    FileReading,
    FingerprintKind,
    SampleFingerprints,
    fingerprint,
)
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from labelcast.opening.parts_from_blobs import context_digest
from labelcast.views import Views

CodecName = Literal["raw", "topk", "vqae", "vqae-context"]

POLICY = AugmentationPolicy(view_height=8, view_width=8, crop_scale=(0.5, 1.0), key=7)
# Of label sets with a conditioned codec: partners and boxes are a part of what it knows.
MIXING_POLICY = AugmentationPolicy(
    view_height=8,
    view_width=12,
    rotation_degrees=30.0,
    crop_scale=(0.5, 1.0),
    crop_ratio=1.5,
    mix=Mix.CUTMIX,
    mix_probability=0.7,
    key=7,
)


def make_label_set(
    directory: Path,
    codec: CodecName = "raw",
    *,
    num_samples: int = 50,
    num_seeds: int = 3,
    num_classes: int = 10,
    seed: int = 0,
    **options: Any,
) -> tuple[LabelSetDirectory, Labels]:
    """A label set with random content.

    Args:
        directory: for the label set; made if missing.
        codec: which codec.
        num_samples: samples, whose IDs are neither small nor consecutive.
        num_seeds: augmentation seeds of each.
        num_classes: C.
        seed: same arguments, same label set; another seed, another label set.
        **options: of `write_label_set`.

    Returns:
        The label set, and float32 labels of shape (N, C) in the order of its rows.
    """
    rng = np.random.default_rng(seed)
    made = make_codec(codec, num_classes, rng)
    rows = make_rows(made, num_samples * num_seeds, rng)
    label_set = write_label_set(
        directory, made, rows, num_samples=num_samples, num_seeds=num_seeds, **options
    )
    return label_set, made.decode(rows, context_of(label_set))


def make_label_set_with_parts(directory: Path) -> LabelSetDirectory:
    """A label set with a blob and a section of which this version knows nothing."""
    label_set, _ = make_label_set(directory)
    writer, (segment,) = LabelSetDirectoryWriter(directory), label_set.manifest.segments
    prints = writer.add_rows(8, [np.arange(400, dtype=np.uint8).reshape(50, 8)])
    tokenizer = writer.add_blob(b"a tokenizer")
    manifest = replace(
        label_set.manifest,
        segments=(replace(segment, parts=(("fingerprints", prints),)),),
        parts=(("tokenizer", tokenizer),),
    )
    writer.finish(manifest)
    return LabelSetDirectory(directory)


def with_fingerprints(label_set: LabelSetDirectory, kind: FingerprintKind) -> LabelSetDirectory:
    """The same with fingerprints: sample number n has that of the text of n."""
    writer, (segment,) = LabelSetDirectoryWriter(label_set.directory), label_set.manifest.segments
    reading = FileReading("RGB", "position") if kind is FingerprintKind.FILES else None
    values = np.array([fingerprint(b"%d" % at) for at in range(segment.sample_ids.rows)], np.uint64)
    ids = label_set.index().segments[0].sample_ids
    prints = SampleFingerprints(kind, ids, values, reading)
    manifest = replace(
        label_set.manifest,
        contract=replace(label_set.contract, dataset=prints.digest()),
        segments=(replace(segment, parts=((kind.part, writer.add_column(values, "<u8")),)),),
        parts=() if reading is None else ((READING_PART, writer.add_blob(reading.to_bytes())),),
    )
    writer.finish(manifest)
    return LabelSetDirectory(label_set.directory)


def with_control_views(
    label_set: LabelSetDirectory,
    views: Views | None = None,
    content: bytes | None = None,
    render: Callable[[Views], Any] = lambda views: np.full((len(views), 1, 8, 8), 0.5),
) -> LabelSetDirectory:
    """The same with control views, of every 7th row unless views are named.

    Args:
        label_set: without optional parts.
        views: views, which the label set may lack.
        content: what the part holds instead.
        render: how views look: float, shape (N, channels, height, width); all grey by default.
    """
    index = label_set.index().segments[0]
    chosen = index.views_at(np.arange(0, index.num_rows, 7)) if views is None else views
    if content is None:
        images = ControlImages.of(chosen, render(chosen))
        known = index.rows(images.views)[1].all()
        labels = (
            label_set.labels(images.views.sample_ids, images.views.seeds)
            if known
            else np.zeros((len(chosen), label_set.contract.num_classes), np.float32)
        )
        content = ControlViews.of(images, labels).to_bytes()
    writer = LabelSetDirectoryWriter(label_set.directory)
    writer.finish(replace(label_set.manifest, parts=((CONTROL_PART, writer.add_blob(content)),)))
    return LabelSetDirectory(label_set.directory)


def context_of(label_set: LabelSetDirectory) -> Rows | None:
    """Context rows of every view of the first segment, in row order; None where there are none."""
    context = label_set.decoder().context
    return None if context is None else context.rows(label_set.index().segments[0].views())


def make_codec(name: CodecName, num_classes: int, rng: np.random.Generator) -> Codec:
    """A codec with random weights; the codebook's size leaves codes that are out of range."""
    if name == "raw":
        return RawCodec(CodecHeader(num_classes, LabelKind.LOGITS, None), Precision.FP16)
    if name == "topk":
        at_one = TemperatureRange(1.0, 1.0)
        header = CodecHeader(num_classes, LabelKind.PROBABILITIES, at_one)
        return TopKCodec(header, min(4, num_classes), Recovery.SPREAD)
    context = ContextShape(class_width=3) if name == "vqae-context" else None
    shape = VqaeShape(codes=6, codebook_size=100, codeword_width=3, hidden=(12,), context=context)
    layers = [
        (_halves(rng, outputs, inputs), _halves(rng, outputs))
        for inputs, outputs in shape.layer_widths(num_classes)
    ]
    header = CodecHeader(num_classes, LabelKind.LOGITS, TemperatureRange(1.0, 4.0))
    codebooks = _halves(rng, 6, 100, 3)
    classes = None if context is None else _halves(rng, num_classes, context.class_width)
    return VqaeCodec(header, shape, codebooks, layers, classes)


def make_rows(codec: Codec, count: int, rng: np.random.Generator) -> Rows:
    """Random rows that the codec accepts: uint8, shape (count, row_stride)."""
    if isinstance(codec, RawCodec):
        values = rng.normal(scale=3, size=(count, codec.header.num_classes))
        return values.astype("<f2").view(np.uint8).reshape(count, -1)
    if isinstance(codec, TopKCodec):
        ranks = rng.random((count, codec.header.num_classes)).argsort(axis=1)
        ids = ranks[:, : codec.k].astype(codec.id_dtype)
        shares = rng.dirichlet(np.ones(codec.k + 1), size=count)[:, : codec.k].astype("<f2")
        return np.hstack([ids.view(np.uint8), np.ascontiguousarray(shares).view(np.uint8)])
    assert isinstance(codec, VqaeCodec)
    size = (count, codec.shape.codes)
    codes = rng.integers(codec.shape.codebook_size, size=size, dtype=np.uint32)
    return pack_codes(codes, bits=codec.shape.bits)


def write_label_set(
    directory: Path,
    codec: Codec,
    rows: Rows,
    *,
    num_samples: int,
    num_seeds: int,
    golden_rows: Rows | None = None,
    contract_classes: int | None = None,
    hard_label_bound: int | None = None,
    row_order: RowOrder = RowOrder.SEED_MAJOR,
    shard_bytes: int = SHARD_BYTES,
    report: dict[str, Any] | None = None,
    policy: AugmentationPolicy | None = POLICY,
    first_and_step: tuple[int, int] = (10**12, 7),
) -> LabelSetDirectory:
    """A label set of given rows, which need not be right.

    Args:
        directory: for the label set.
        codec: put into it.
        rows: uint8, shape (num_samples * num_seeds, row_stride).
        num_samples: samples.
        num_seeds: seeds.
        golden_rows: rows of the artifact, where the first of `rows` are damaged on purpose.
        contract_classes: what the contract says where it is not what the codec says.
        hard_label_bound: hard labels are below this; by default the number of classes.
        row_order: of the codes.
        shard_bytes: largest shard.
        report: fit report.
        policy: of the views, where the codec is not conditioned on them.
        first_and_step: the first sample ID, and how far apart they are.
    """
    header, writer = codec.header, LabelSetDirectoryWriter(directory, shard_bytes=shard_bytes)
    first, step = first_and_step
    sample_ids = first + step * np.arange(num_samples, dtype=np.uint64)
    seeds = 3 * np.arange(num_seeds, dtype=np.uint32)
    hard_labels = np.arange(num_samples) % (hard_label_bound or header.num_classes)
    golden = rows[:8] if golden_rows is None else golden_rows
    golden_context, declared = None, None
    if codec.context_stride:
        policy = MIXING_POLICY
        index = GridIndex(sample_ids, seeds, row_order)
        context = ViewContext(policy, sample_ids, hard_labels)
        golden_context = context.rows(index.views()[: len(golden)])
        declared = ContextRef(context_digest(context, index))
    artifact = writer.add_blob(write_artifact(codec, golden, golden_context))
    segment = Segment(
        row_order=row_order,
        sample_ids=writer.add_column(sample_ids, "<u8"),
        seeds=writer.add_column(seeds, "<u4"),
        codes=writer.add_rows(codec.row_stride, [rows]),
        hard_labels=writer.add_column(hard_labels, "<u4"),
    )
    names = [f"class {number}" for number in range(header.num_classes)]
    contract = LabelContract(
        teacher=digest_of(b"teacher"),
        teacher_name="a teacher of tests",
        dataset=digest_of(b"data set"),
        num_classes=contract_classes or header.num_classes,
        class_list=class_list_digest(names),
        policy=policy,
        label_kind=header.label_kind,
        temperatures=header.temperatures,
        codec=artifact.digest,
        context=declared,
    )
    told = None if report is None else writer.add_blob(to_canonical(report))
    writer.finish(Manifest(contract=contract, segments=(segment,), codec=artifact, report=told))
    return LabelSetDirectory(directory)


def _halves(rng: np.random.Generator, *shape: int) -> Any:
    return rng.normal(scale=0.7, size=shape).astype(np.float16)
