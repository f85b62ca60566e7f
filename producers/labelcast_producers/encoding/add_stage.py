"""Staged label sets: the next stage shares the segments of earlier ones by digest."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labelcast.codec import Codec
from labelcast.errors import ManifestError
from labelcast.files import whole_file
from labelcast.identifiers import Digest
from labelcast.label_set import (
    SampleOrder,
    Stage,
    ViewIndex,
    digest_of,
    from_canonical,
    to_canonical,
)
from labelcast.label_set.control_views import CONTROL_PART
from labelcast.label_set.fingerprints import (
    READING_PART,
    FingerprintKind,
    SampleFingerprints,
    join_fingerprints,
)
from labelcast.label_set.manifest import Manifest
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter, blob_path


def add_stage(
    base: LabelSetDirectory | None,
    added: LabelSetDirectory,
    out: Path,
    *,
    name: str,
    learning_rate: float | None = None,
    epochs: int | None = None,
    dataset: Digest | None = None,
    keep_fingerprints: bool = True,
) -> LabelSetDirectory:
    """Make the label set of the next stage.

    Args:
        base: label set so far; one without stages becomes the first. None starts a staged set.
        added: labels of the new samples, encoded with the codec of `base`.
        out: directory of the new label set; blobs are linked, if the disk can, or copied.
        name: name of the stage, for people.
        learning_rate: learning rate to train the stage with.
        epochs: epochs to train the stage for.
        dataset: digest of the data set at this stage; by default one over those of both sets. Sets
            with fingerprints have the one of their fingerprints together.
        keep_fingerprints: leave out the fingerprints of both sets instead, so that nobody can
            compare the student's images.

    Raises:
        ManifestError: both sets hold the same view, their contracts differ (names the field),
            their codes are conditioned on context, or they have no fingerprints of one kind.
    """
    stage = Stage(
        name=name,
        segments=len(added.manifest.segments),
        learning_rate=learning_rate,
        epochs=epochs,
    )
    report: dict[str, Any] | None = None
    if base is None:
        manifest = replace(added.manifest, stages=(stage,))
    else:
        prints = _joined_fingerprints(base, added) if keep_fingerprints else None
        manifest = _combined(base, added, stage, dataset, prints)
        report = _reports(base, added)
    if not keep_fingerprints:
        manifest = without_fingerprints(manifest)
    (out / "manifest.json").unlink(missing_ok=True)
    writer = LabelSetDirectoryWriter(out)
    for label_set in (base, added):
        if label_set is not None:
            bring_blobs(label_set, manifest, out)
    if report is not None:
        manifest = replace(manifest, report=writer.add_blob(to_canonical(report)))
    # Read back as every reader will: a contradictory set is not written.
    Manifest.from_bytes(manifest.to_bytes())
    parts = [*(base.index().segments if base else ()), *added.index().segments]
    ViewIndex(parts)
    writer.finish(manifest)
    return LabelSetDirectory(out)


def _combined(
    base_set: LabelSetDirectory,
    added_set: LabelSetDirectory,
    stage: Stage,
    dataset: Digest | None,
    fingerprints: SampleFingerprints | None,
) -> Manifest:
    base, added = base_set.manifest, added_set.manifest
    ours, theirs = base.contract, added.contract
    for field in ("teacher", "num_classes", "class_list", "policy", "label_kind"):
        if getattr(ours, field) != getattr(theirs, field):
            raise ManifestError(f"the stages differ in {field}; make both alike")
    if ours.context is not None or theirs.context is not None:
        raise ManifestError(
            "codes that are conditioned on hard labels and views decode with their own samples"
            " alone; fit with --no-context (in Python: context=None), and encode both stages with"
            " that codec"
        )
    if ours.codec != theirs.codec and not _alike(base_set.codec(), added_set.codec()):
        raise ManifestError(
            "the stages differ in codec; encode the new samples with the codec of the base"
        )
    if added.stages:
        raise ManifestError(
            "the added label set is staged itself; add the label sets of its stages one by one"
        )
    # The whole is known no better than its least known part.
    order = max(ours.sample_order, theirs.sample_order, key=list(SampleOrder).index)
    first = base.stages or (Stage(name="stage 0", segments=len(base.segments)),)
    if fingerprints is not None:
        identity = fingerprints.digest()
        if dataset not in (None, identity):
            raise ManifestError(
                f"the data set at this stage is {identity} by its fingerprints, not {dataset};"
                " leave --dataset out"
            )
        dataset = identity
    union = digest_of(f"{ours.dataset} {theirs.dataset}".encode())
    return Manifest(
        contract=replace(ours, dataset=dataset or union, sample_order=order),
        segments=(*base.segments, *added.segments),
        codec=base.codec,
        report=None,
        stages=(*first, replace(stage, segments=len(base.segments) + stage.segments)),
        # Views of the base look as they did, and keep their labels.
        parts=tuple(part for part in base.parts if part[0] in (CONTROL_PART, READING_PART)),
    )


def _joined_fingerprints(
    base: LabelSetDirectory, added: LabelSetDirectory
) -> SampleFingerprints | None:
    ours, theirs = base.fingerprints(), added.fingerprints()
    if ours is None and theirs is None:
        return None
    if ours is None or theirs is None or (ours.kind, ours.reading) != (theirs.kind, theirs.reading):
        raise ManifestError(
            f"the stages differ in fingerprints: the base has {_named(ours)}, the added set"
            f" {_named(theirs)}; make both from images that are read alike, or leave fingerprints"
            " out with --no-fingerprints"
        )
    tables = [(prints.sample_ids, prints.values) for prints in (ours, theirs)]
    return join_fingerprints(ours.kind, ours.reading, tables)


def _named(fingerprints: SampleFingerprints | None) -> str:
    if fingerprints is None:
        return "none"
    reading = fingerprints.reading
    how = "" if reading is None else f" ({reading.decoding}, sample IDs by {reading.sample_ids})"
    return f"those of {fingerprints.kind}{how}"


def without_fingerprints(manifest: Manifest) -> Manifest:
    """The same labels, with nothing to compare images with."""
    names = {kind.part for kind in FingerprintKind}
    segments = tuple(
        replace(segment, parts=tuple(part for part in segment.parts if part[0] not in names))
        for segment in manifest.segments
    )
    parts = tuple(part for part in manifest.parts if part[0] != READING_PART)
    return replace(manifest, segments=segments, parts=parts)


def _reports(base: LabelSetDirectory, added: LabelSetDirectory) -> dict[str, Any] | None:
    """Means over both sets, which the canary uses; None unless both were measured."""
    refs = (base.manifest.report, added.manifest.report)
    first, second = (
        {}
        if ref is None
        else from_canonical(label_set.read_blob(ref), "the report", max_bytes=2**20)
        for label_set, ref in zip((base, added), refs, strict=True)
    )
    share = added.manifest.num_labels / (base.manifest.num_labels + added.manifest.num_labels)
    means = {
        name: (1 - share) * first[name] + share * second[name]
        for name in ("kl_nats", "top1_agreement", "hard_label_agreement")
        if isinstance(first.get(name), float) and isinstance(second.get(name), float)
    }
    return means or None


def _alike(first: Codec, second: Codec) -> bool:
    """Whether rows mean the same to both: their artifacts may still differ in golden rows."""
    ours, theirs = first.tensors(), second.tensors()
    return (
        (first.name, first.header, first.config()) == (second.name, second.header, second.config())
        and ours.keys() == theirs.keys()
        and all(np.array_equal(ours[name], theirs[name]) for name in ours)
    )


def bring_blobs(label_set: LabelSetDirectory, manifest: Manifest, out: Path) -> None:
    """Link, or copy, those blobs of a label set that a manifest names too."""
    wanted = manifest.blobs()
    for digest, ref in label_set.manifest.blobs().items():
        target = blob_path(out, digest)
        if digest not in wanted or target.exists():
            continue
        source = label_set.path(ref)
        with whole_file(target) as partial:
            try:
                os.link(source, partial)
            except OSError:
                shutil.copyfile(source, partial)
