"""Whether the labels themselves bear out sample IDs that were derived.

Two views of one sample mostly name one class, whoever the teacher is. Where an epoch was ordered
otherwise than was assumed, they do so no more often than chance.

Rules:
  * a view counts for the sample that it shows most of, or for both where λ and box disagree;
  * what is compared with epoch 0, whose order is the same whatever torch drew, are the epochs in
    which each fault begins: the next one, and the last;
  * labels decide against an order only where they bear out another one of these files. A teacher
    that says the same of every image, or another thing of every view, decides nothing, and that is
    said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import Mix, RecordedPolicy
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast_producers.formats.batches.batch import Batch
from labelcast_producers.formats.batches.layout import IDS_NAMES, Kind
from labelcast_producers.formats.batches.numbering import Epochs, SampleIDs
from labelcast_producers.formats.source import Source

_IDS_NAME = IDS_NAMES[Kind.EPOCH_DIRECTORIES]
# Standard deviations of what chance gives.
_BORNE_OUT = 4.0
_FALLEN = 3.0
_MOST = 0.5


@dataclass(frozen=True, eq=False, slots=True)
class _Views:
    """Views of one epoch.

    Attributes:
        samples: that each shows, shape (n, 2).
        classes: that each label names, shape (n,).
    """

    samples: NDArray[np.int64]
    classes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Agreement:
    """How often labels name the class that their sample had in epoch 0.

    Attributes:
        share: of the rows.
        chance: the share that labels in any order would have.
        rows: how many were compared.
    """

    share: float
    chance: float
    rows: int

    @property
    def is_borne_out(self) -> bool:
        """Whether this is more than chance gives."""
        deviation = np.sqrt(self.chance * (1 - self.chance) / max(self.rows, 1))
        return self.rows > 0 and self.share - self.chance > _BORNE_OUT * deviation

    def has_fallen_from(self, other: "_Agreement") -> bool:
        """Whether this is chance, where the other is not."""
        if self.rows == 0 or self.is_borne_out or not other.is_borne_out:
            return False
        middle = (self.share + other.share) / 2
        deviation = np.sqrt(middle * (1 - middle) * (1 / self.rows + 1 / other.rows))
        fell = other.share - self.share
        return bool(fell > _FALLEN * deviation and fell > (other.share - self.chance) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedOrder:
    """An order of samples that nobody wrote down.

    Attributes:
        epochs: batches by epoch.
        ids: sample IDs of each batch.
        older: those of epoch 1 if torch drew one permutation an epoch; None where the user says how
            many it drew.
        count_is_assumed: whether the number of samples is.
    """

    epochs: Epochs
    ids: Sequence[SampleIDs]
    older: Sequence[SampleIDs] | None
    count_is_assumed: bool

    def require(self, source: Source) -> str | None:
        """Refuse it where the labels of these batches contradict it.

        Args:
            source: of the batches, a part each.

        Returns:
            One line, for people, where the labels decide nothing.

        Raises:
            LabelFileError: the last epoch is in another order than those before it.
            InvalidRequestError: what was assumed is wrong; names the option that says it.
        """
        last = len(self.epochs.of) - 1
        if last < 1:
            return None
        first = self._views(source, 0, self._ids_of(0))
        second = _compared(first, self._views(source, 1, self._ids_of(1)))
        if self.older is not None:
            self._require_draws(second, _compared(first, self._views(source, 1, self.older)))
        if self.count_is_assumed and second.rows and not second.is_borne_out:
            raise InvalidRequestError(
                f"{self._root}: labels of epochs 0 and 1 name one class of a sample in"
                f" {second.share:.0%} of views, no more than chance gives, so the images were"
                f" probably not {self.epochs.whole_length}: give --images or --samples, or put the"
                f" {_IDS_NAME} of this run there if LPLD made these files"
            )
        compared = {1: second}
        if last > 1:
            compared[last] = _compared(first, self._views(source, last, self._ids_of(last)))
            self._require_last(second, compared[last])
        untold = (self._untold(*each) for each in compared.items() if not each[1].is_borne_out)
        return next(untold, None)

    @property
    def _root(self) -> Path:
        return self.epochs.of[0][0].place.file.path.parent.parent

    def _untold(self, epoch: int, found: _Agreement) -> str:
        both = "" if self.older is not None else "leave --draws out to have both orders compared; "
        return (
            f"labels of {self._root / f'epoch_{epoch}'} do not tell whether the order of samples is"
            " right: they name the class that their sample had in epoch 0 no more often than chance"
            f" ({found.share:.0%} of {found.rows} views); {both}if LPLD made these files, put the"
            f" {_IDS_NAME} of this run there, or else have the teacher confirm the order"
            " (--verify-with)"
        )

    def _require_draws(self, assumed: _Agreement, older: _Agreement) -> None:
        if assumed.has_fallen_from(older):
            raise InvalidRequestError(
                f"{self._root}: labels of epoch 1 name the class that their sample had in epoch 0"
                f" in {older.share:.0%} of views if torch drew one permutation an epoch, in"
                f" {assumed.share:.0%} if it drew two: give --draws one; if LPLD made these files,"
                f" put the {_IDS_NAME} of this run there"
            )

    def _require_last(self, second: _Agreement, last: _Agreement) -> None:
        if last.has_fallen_from(second):
            name = f"epoch_{len(self.epochs.of) - 1}"
            raise LabelFileError(
                f"{self._root / name} is in another order than the epochs before it: its labels"
                f" name the class that their sample had in epoch 0 in {last.share:.0%} of views,"
                f" those of epoch 1 in {second.share:.0%}. LPLD writes such an epoch when it has"
                f" broken off, and names its samples in {_IDS_NAME}: put the one of this run there,"
                f" or move {name} away",
                path=self._root,
            )

    def _views(self, source: Source, epoch: int, ids: Sequence[SampleIDs]) -> _Views:
        start = sum(map(len, self.epochs.of[:epoch]))
        shown, classes = [], []
        for number, (batch, own) in enumerate(zip(self.epochs.of[epoch], ids, strict=True)):
            shown.append(_shown(batch, own.astype(np.int64), source.facts.policy))
            classes.append(source.read(source.parts[start + number]).argmax(axis=1))
        return _Views(np.concatenate(shown), np.concatenate(classes).astype(np.int64))

    def _ids_of(self, epoch: int) -> Sequence[SampleIDs]:
        start = sum(map(len, self.epochs.of[:epoch]))
        return self.ids[start : start + len(self.epochs.of[epoch])]


def _shown(batch: Batch, own: SampleIDs, policy: object) -> SampleIDs:
    """The two samples that each view shows, shape (B, 2); twice the one that it shows most of."""
    if batch.mix_index is None:
        return np.stack([own, own], axis=1)
    partners = own[batch.mix_index]
    top, left, bottom, right = batch.box
    shares = [batch.lam]
    if batch.mix is Mix.CUTMIX and isinstance(policy, RecordedPolicy):
        area = policy.view_height * policy.view_width
        shares.append(1 - (bottom - top) * (right - left) / area)
    if min(shares) >= _MOST:
        partners = own
    elif max(shares) < _MOST:
        own = partners
    return np.stack([own, partners], axis=1)


def _compared(first: _Views, later: _Views) -> _Agreement:
    samples = int(max(first.samples.max(), later.samples.max())) + 1
    # Of each sample, the classes of the two views that showed it: often one and the same.
    known = np.full((samples, 2), -1, dtype=np.int64)
    for column in range(2):
        known[first.samples[:, column], column] = first.classes
    expected = known[later.samples].reshape(len(later.classes), 4)
    there = (expected >= 0).all(axis=1)
    expected, found = np.sort(expected[there], axis=1), later.classes[there]
    if not len(found):
        return _Agreement(0.0, 0.0, 0)
    odds = np.bincount(found, minlength=int(expected.max()) + 1) / len(found)
    distinct = np.diff(expected, axis=1, prepend=-1) > 0
    chance = float((odds[expected] * distinct).sum(axis=1).mean())
    share = float((expected == found[:, None]).any(axis=1).mean())
    return _Agreement(share, min(chance, 1.0), len(found))
