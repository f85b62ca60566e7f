"""Staged label sets: the next stage shares the segments of earlier ones by digest."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Codec
from labelcast.errors import InvalidRequestError, ManifestError
from labelcast.files import whole_file, write_whole
from labelcast.identifiers import Digest
from labelcast.label_set import (
    GridIndex,
    RowOrder,
    SampleOrder,
    Stage,
    ViewIndex,
    digest_of,
    from_canonical,
    to_canonical,
)
from labelcast.label_set.fingerprints import (
    READING_PART,
    FingerprintKind,
    SampleFingerprints,
    join_fingerprints,
)
from labelcast.label_set.manifest import Manifest
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter, blob_path
from labelcast.progress import Progress, unwatched
from labelcast_producers.dense.files import LabelBlock, LabelRows
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import ChosenEncoder

_NOTE_NAME = "stages.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFacts:
    """One stage of a staged source.

    Attributes:
        name: name for people.
        sample_ids: uint64, samples that are *new* at this stage, strictly increasing.
        learning_rate: learning rate that the producer used; None if unknown.
        epochs: epochs that the producer trained for; None if unknown.
    """

    name: str
    sample_ids: NDArray[np.uint64]
    learning_rate: float | None = None
    epochs: int | None = None


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
        manifest = _without_fingerprints(manifest)
    (out / "manifest.json").unlink(missing_ok=True)
    writer = LabelSetDirectoryWriter(out)
    for label_set in (base, added):
        if label_set is not None:
            _bring(label_set, manifest, out)
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
        parts=tuple(part for part in base.parts if part[0] == READING_PART),
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


def _without_fingerprints(manifest: Manifest) -> Manifest:
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


def _bring(label_set: LabelSetDirectory, manifest: Manifest, out: Path) -> None:
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


def write_staged(
    dense: DenseLabels,
    chosen: ChosenEncoder,
    stages: Sequence[StageFacts],
    out: Path,
    *,
    identity: str | None = None,
    progress: Progress = unwatched,
) -> LabelSetDirectory:
    """Encode labels of all stages into one staged label set, a segment per stage.

    Interrupted, it goes on where it was when it is called again with the same identity and encoder:
    finished stages are taken as they are.

    Args:
        dense: labels of every sample, seed-major without gaps.
        chosen: encoder to use.
        stages: stages in order, each with its new samples, whose IDs rise over all stages.
        out: directory of the label set; sets of the single stages are kept in `out/stages`.
        identity: of the labels; None starts anew.
        progress: called as labels of all stages are encoded.

    Raises:
        InvalidRequestError: the stages are not consecutive runs of the samples.
    """
    expected = np.concatenate([stage.sample_ids for stage in stages])
    if not np.array_equal(expected, dense.index.sample_ids):
        raise InvalidRequestError("the stages do not add up to the samples, in their order")
    staged, first, seeds = None, 0, len(dense.index.seeds)
    note = _StagesNote(out / "stages" / _NOTE_NAME, identity, chosen)
    for number, stage in enumerate(stages):
        last = first + len(stage.sample_ids)
        if number < note.done:
            staged, first = LabelSetDirectory(out / "stages" / str(number)), last
            continue
        single = write_label_set(
            _samples(dense, first, last),
            chosen.encoder,
            out / "stages" / f"{number}-alone",
            artifact=chosen.artifact,
            fit_report=chosen.fit_report,
            identity=None if identity is None else f"{identity}, stage {number}",
            progress=_shifted(progress, first * seeds, len(expected) * seeds),
        )
        target = out if number == len(stages) - 1 else out / "stages" / str(number)
        staged = add_stage(
            staged,
            single,
            target,
            name=stage.name,
            learning_rate=stage.learning_rate,
            epochs=stage.epochs,
            dataset=dense.description.dataset if target == out else None,
        )
        first = last
        if target != out:
            note.finish(number + 1)
    if staged is None:
        raise InvalidRequestError("a staged set needs at least one stage")
    note.path.unlink(missing_ok=True)
    return staged


class _StagesNote:
    """How many stages of a staged set are finished, on disk beside them.

    Args:
        path: of the note.
        identity: of the labels; None never goes on.
        chosen: the encoder, with which stages were written.

    Attributes:
        done: finished stages.
    """

    def __init__(self, path: Path, identity: str | None, chosen: ChosenEncoder) -> None:
        self.path = path
        codec = chosen.encoder.codec
        about = repr((identity, codec.name, codec.header, codec.config())).encode()
        self._identity = None if identity is None else digest_of(about + (chosen.artifact or b""))
        self.done = 0
        try:
            noted = json.loads(path.read_bytes())
            if identity is not None and noted["identity"] == self._identity:
                self.done = int(noted["done"])
        except (OSError, ValueError, KeyError, TypeError):
            return

    def finish(self, done: int) -> None:
        """Note that this many stages are finished."""
        note = {"identity": self._identity, "done": done}
        write_whole(self.path, json.dumps(note).encode())


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    """Make the progress of a stage count towards all stages."""
    return lambda done, _: progress(before + done, total)


def _samples(dense: DenseLabels, first: int, last: int) -> DenseLabels:
    index, hard, prints = dense.index, dense.hard_labels, dense.fingerprints
    whole = index.present is None and index.row_order is RowOrder.SEED_MAJOR
    if not whole or dense.records is not None:
        raise InvalidRequestError("only whole, seed-major sets without records can be cut")
    every = np.arange(len(index.seeds))[:, None] * len(index.sample_ids)
    rows = (every + np.arange(first, last)).reshape(-1)
    return replace(
        dense,
        index=GridIndex(index.sample_ids[first:last], index.seeds, RowOrder.SEED_MAJOR),
        hard_labels=None if hard is None else hard[first:last],
        fingerprints=None if prints is None else prints.only(index.sample_ids[first:last]),
        rows=_ChosenRows(dense.rows, rows),
    )


@dataclass(frozen=True, eq=False)
class _ChosenRows:
    """Some rows of another label source."""

    source: LabelRows
    chosen: NDArray[np.int64]
    rows_per_seed: int | None = None

    @property
    def num_rows(self) -> int:
        return len(self.chosen)

    @property
    def num_classes(self) -> int:
        return self.source.num_classes

    def read(self, start: int, stop: int) -> LabelBlock:
        return self.source.gather(self.chosen[start:stop])

    def gather(self, rows: NDArray[np.int64]) -> LabelBlock:
        return self.source.gather(self.chosen[rows])
