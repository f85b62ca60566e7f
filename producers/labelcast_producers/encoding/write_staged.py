"""Labels of several stages → one staged label set, a segment per stage; resumable."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError, ManifestError
from labelcast.files import remove_for_good, write_whole
from labelcast.label_set import GridIndex, RowOrder, digest_of
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.progress import Progress, unwatched
from labelcast_producers.dense.files import LabelBlock, LabelRows
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.encoding.add_stage import add_stage
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import ChosenEncoder

_WORK_NAME, _NOTE_NAME = "stages", "stages.json"


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
    finished stages are taken as they are. `out/stages` holds what that needs, the set so far and
    the stage at work, until the set is finished.

    Args:
        dense: labels of every sample, seed-major without gaps.
        chosen: encoder to use.
        stages: stages in order, each with its new samples, whose IDs rise over all stages.
        out: directory of the label set.
        identity: of the labels; None starts anew.
        progress: called as labels of all stages are encoded.

    Raises:
        InvalidRequestError: the stages are not consecutive runs of the samples.
    """
    expected = np.concatenate([stage.sample_ids for stage in stages])
    if not np.array_equal(expected, dense.index.sample_ids):
        raise InvalidRequestError("the stages do not add up to the samples, in their order")
    if not stages:
        raise InvalidRequestError("a staged set needs at least one stage")
    work, last, seeds = out / _WORK_NAME, len(stages) - 1, len(dense.index.seeds)
    note = _StagesNote(work / _NOTE_NAME, identity, chosen)
    ends = np.cumsum([len(stage.sample_ids) for stage in stages]).tolist()
    staged = LabelSetDirectory(work / str(note.done - 1)) if note.done else None
    for number in range(note.done, len(stages)):
        first = ends[number - 1] if number else 0
        alone = work / f"{number}-alone"
        single = write_label_set(
            _samples(dense, first, ends[number]),
            chosen.encoder,
            alone,
            artifact=chosen.artifact,
            fit_report=chosen.fit_report,
            identity=None if identity is None else f"{identity}, stage {number}",
            progress=_shifted(progress, first * seeds, len(expected) * seeds),
        )
        stage = stages[number]
        staged = add_stage(
            staged,
            single,
            out if number == last else work / str(number),
            name=stage.name,
            learning_rate=stage.learning_rate,
            epochs=stage.epochs,
            dataset=dense.description.dataset if number == last else None,
        )
        if number < last:
            note.finish(number + 1)
            # Where files cannot be linked, these are copies of what the set so far holds.
            for done in (alone, work / str(number - 1)):
                shutil.rmtree(done, ignore_errors=True)
    # The set is finished and needs none of it: what cannot be deleted must not look like a failure.
    shutil.rmtree(work, ignore_errors=True)
    return LabelSetDirectory(out)


class _StagesNote:
    """How many stages of a staged set are finished, on disk beside them.

    Args:
        path: of the note.
        identity: of the labels; None never goes on.
        chosen: the encoder, with which stages were written.

    Attributes:
        done: finished stages, the last of which is there.
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
                done = int(noted["done"])
                LabelSetDirectory(path.parent / str(done - 1))
                self.done = done
        except (OSError, ValueError, KeyError, TypeError, ManifestError):
            pass
        if not self.done:
            # It would be believed about the stages that are written here.
            remove_for_good(path)

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
        control_images=None,
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
