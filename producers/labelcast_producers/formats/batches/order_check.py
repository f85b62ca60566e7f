"""Whether the labels themselves bear out sample IDs that were derived.

Two views of one sample mostly fit one class, whoever the teacher is; where the images are at hand,
their directories tell classes too. In an epoch that was ordered otherwise than was assumed, labels
fit those classes no better than chance.

Rules:
  * a view counts for both samples that it shows, as much as it shows of them;
  * every epoch is compared with epoch 0, whose order is the same whatever torch drew;
  * an order is refused where another one, which a producer may have drawn, fits the same labels
    better, or where an epoch has fallen to chance and those before it have not;
  * a teacher that says the same of every image, or another thing of every view, decides nothing,
    and that is said.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import Mix, RecordedPolicy
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast_producers.formats.batches.batch import Batch
from labelcast_producers.formats.batches.layout import IDS_NAMES, Kind
from labelcast_producers.formats.batches.numbering import Epochs, SampleIDs
from labelcast_producers.formats.batches.orders import sampler_orders
from labelcast_producers.formats.shared.agreement import RISK, Fit, class_ranks
from labelcast_producers.formats.source import PermutationDraws, Source

_IDS_NAME = IDS_NAMES[Kind.EPOCH_DIRECTORIES]
# Of one epoch; more tell no more.
_MOST_VIEWS = 1024


@dataclass(frozen=True, eq=False, slots=True)
class _Shown:
    """The two samples that each view shows.

    Attributes:
        samples: shape (n, 2).
        shares: of the view, shape (n, 2).
    """

    samples: SampleIDs
    shares: NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class _Evidence:
    """What tells the classes of samples.

    Attributes:
        says: what labels are expected to fit, for messages.
        classes: of each sample, shape (count,); -1 where it is not known.
        first: how well the labels of epoch 0 fit them; empty where they come from these.
    """

    says: str
    classes: NDArray[np.int64]
    first: Fit


@dataclass(frozen=True, slots=True)
class _Compared:
    """Labels of one epoch, compared with one evidence.

    Attributes:
        own: how well they fit it in the order that was assumed.
        draws: how much better they do in the order of the other draws.
        broken: how much better, if labelling broke off at the end of the epoch before.
    """

    own: Fit
    draws: Fit
    broken: Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedOrder:
    """An order of samples that nobody wrote down.

    Attributes:
        epochs: batches by epoch.
        count: number of samples that the sampler permuted.
        count_is_assumed: whether it is.
        draws: permutations an epoch; AUTO where two are assumed.
        sampler_seed: seed of the sampler.
    """

    epochs: Epochs
    count: int
    count_is_assumed: bool
    draws: PermutationDraws
    sampler_seed: int

    def require(self, source: Source) -> str | None:
        """Refuse it where the labels of these batches contradict it.

        Args:
            source: of the batches, a part each.

        Returns:
            One line, for people, where the labels decide nothing.

        Raises:
            LabelFileError: an epoch is in another order than those before it.
            InvalidRequestError: what was assumed is wrong; names the option that says it.
        """
        if len(self.epochs.of) < 2:
            return None
        evidences = self._evidences(source)
        compared = [self._compare(source, each, evidences) for each in self._later_orders()]
        by_evidence = list(zip(evidences, zip(*compared, strict=True), strict=True))
        for evidence, epochs in by_evidence:
            self._require_draws(evidence, epochs, RISK / len(evidences))
        second = compared[0][0].own
        if self.count_is_assumed and second.rows and not second.is_borne_out:
            raise InvalidRequestError(
                f"{self._root}: labels of epoch 1 fit {evidences[0].says} no better than chance"
                f" ({_errors(second)}), so the images were probably not"
                f" {self.epochs.whole_length}: give --images or --samples, or put the {_IDS_NAME}"
                " of this run there if LPLD made these files"
            )
        untold = [not any(each.own.is_borne_out for each in epoch) for epoch in compared]
        risk = RISK / (2 * len(compared) * len(evidences))
        for position in range(len(compared)):
            for evidence, epochs in by_evidence:
                self._require_unbroken(evidence, epochs, position, risk)
                if untold[position]:
                    self._require_level(evidence, epochs, position, risk)
        if not any(untold):
            return None
        return self._untold(untold.index(True) + 1, compared[untold.index(True)][0].own)

    @property
    def _root(self) -> Path:
        return self.epochs.of[0][0].place.file.path.parent.parent

    @property
    def _other_draws(self) -> PermutationDraws:
        one = PermutationDraws.ONE
        return PermutationDraws.TWO if self.draws is one else one

    def _orders(self, draws: PermutationDraws) -> Iterator[SampleIDs]:
        return sampler_orders(self.count, draws, self.sampler_seed)

    def _later_orders(self) -> Iterator[tuple[int, SampleIDs, SampleIDs, SampleIDs]]:
        """Number of each epoch but the first, and its orders: own, of other draws, after a break.

        Where two permutations are drawn, the second one is drawn when an epoch's iterator is used
        up: after a break it is the order of the next epoch.
        """
        own, other = (
            islice(self._orders(each), 1, None) for each in (self.draws, self._other_draws)
        )
        unused = islice(self._orders(PermutationDraws.ONE), 1, None, 2)
        return zip(range(1, len(self.epochs.of)), own, other, unused, strict=False)

    def _evidences(self, source: Source) -> list[_Evidence]:
        order = next(self._orders(self.draws))
        shown = self._shown(self.epochs.of[0], order, source)
        named = np.concatenate([part.argmax(axis=1) for part in self._labels(source, 0)])
        classes = np.full(self.count, -1, dtype=np.int64)
        # A label names the class of the sample that its view shows most of, if not of its own.
        classes[shown.samples[:, 0]] = named
        most = shown.shares.argmax(axis=1)[:, None]
        classes[np.take_along_axis(shown.samples, most, axis=1)[:, 0]] = named
        found = [_Evidence("the class that their sample had in epoch 0", classes, Fit())]
        facts = source.facts
        if facts.hard_labels is not None:
            of_images = np.full(self.count, -1, dtype=np.int64)
            of_images[facts.index.sample_ids.astype(np.int64)] = facts.hard_labels
            evidence = _Evidence("the classes of the images that they show", of_images, Fit())
            first = self._compare(source, (0, order, order, order), [evidence])
            found.append(replace(evidence, first=first[0].own))
        return found

    def _compare(
        self,
        source: Source,
        epoch: tuple[int, SampleIDs, SampleIDs, SampleIDs],
        evidences: Sequence[_Evidence],
    ) -> list[_Compared]:
        number, *orders = epoch
        batches = self._first_batches(number)
        ranks = class_ranks(np.concatenate(list(self._labels(source, number, len(batches)))))
        shown = [self._shown(batches, order, source) for order in orders]
        return [
            _Compared(
                Fit.of(ranks, evidence.classes[shown[0].samples], shown[0].shares),
                *(_better(ranks, evidence, other, shown[0]) for other in shown[1:]),
            )
            for evidence in evidences
        ]

    def _untold(self, epoch: int, found: Fit) -> str:
        return (
            f"labels of {self._root / f'epoch_{epoch}'} do not tell whether the order of samples is"
            " right, which stays unverified: they fit the class that their sample had in epoch 0 no"
            f" better than chance ({_errors(found)}); if LPLD made these files, put the {_IDS_NAME}"
            " of this run there, or else have the teacher confirm the order (--verify-with)"
        )

    def _require_draws(self, evidence: _Evidence, epochs: Sequence[_Compared], risk: float) -> None:
        better = sum((each.draws for each in epochs), Fit())
        if better.exceeds_chance(risk=risk):
            assumed = _permutations(self.draws)
            raise InvalidRequestError(
                f"{self._root}: labels after epoch 0 fit {evidence.says} better if torch drew"
                f" {_permutations(self._other_draws)} an epoch, not {assumed} ({_errors(better)}):"
                f" give --draws {self._other_draws}; if LPLD made these files, put the {_IDS_NAME}"
                " of this run there"
            )

    def _require_unbroken(
        self, evidence: _Evidence, epochs: Sequence[_Compared], position: int, risk: float
    ) -> None:
        better = epochs[position].broken
        if self.draws is not PermutationDraws.ONE and better.exceeds_chance(risk=risk):
            raise self._another_order(
                position + 1,
                f"its labels fit {evidence.says} better if labelling broke off at the end of"
                f" epoch_{position} ({_errors(better)})",
            )

    def _require_level(
        self, evidence: _Evidence, epochs: Sequence[_Compared], position: int, risk: float
    ) -> None:
        own = epochs[position].own
        before = sum((each.own for each in epochs[:position]), evidence.first)
        after = sum((each.own for each in epochs[position + 1 :]), Fit())
        other, which = (before, "before") if before.rows else (after, "after")
        if own.has_fallen_from(other, risk=risk):
            raise self._another_order(
                position + 1,
                f"its labels fit {evidence.says} no better than chance ({_errors(own)}), those of"
                f" epochs {which} it do ({_errors(other)})",
            )

    def _another_order(self, epoch: int, why: str) -> LabelFileError:
        last = len(self.epochs.of) - 1
        away = f"epoch_{epoch}" if epoch == last else f"epoch_{epoch} to epoch_{last}"
        return LabelFileError(
            f"{self._root / f'epoch_{epoch}'} is in another order than was assumed: {why}. LPLD"
            f" writes such an epoch when it has broken off, and names its samples in {_IDS_NAME}:"
            f" put the one of this run there, or move {away} away",
            path=self._root,
        )

    def _first_batches(self, epoch: int) -> Sequence[Batch]:
        return self.epochs.of[epoch][: max(1, _MOST_VIEWS // self.epochs.batch_size)]

    def _labels(
        self, source: Source, epoch: int, most: int | None = None
    ) -> Iterator[NDArray[Any]]:
        start = sum(map(len, self.epochs.of[:epoch]))
        for part in source.parts[start : start + len(self.epochs.of[epoch])][:most]:
            yield source.read(part)

    def _shown(self, batches: Sequence[Batch], order: SampleIDs, source: Source) -> _Shown:
        samples, shares = [], []
        for batch in batches:
            start = batch.place.number * self.epochs.batch_size
            own = order[start : start + batch.size]
            partners = own if batch.mix_index is None else own[batch.mix_index]
            share = _own_share(batch, source.facts.policy)
            samples.append(np.stack([own, partners], axis=1))
            shares.append(np.broadcast_to([share, 1 - share], (batch.size, 2)))
        return _Shown(np.concatenate(samples), np.concatenate(shares))


def _own_share(batch: Batch, policy: object) -> float:
    """How much a view shows of its own sample: by λ, and as much by its box if there is one."""
    if batch.mix_index is None:
        return 1.0
    if batch.mix is not Mix.CUTMIX or not isinstance(policy, RecordedPolicy):
        return float(batch.lam)
    top, left, bottom, right = batch.box
    area = policy.view_height * policy.view_width
    return (float(batch.lam) + 1 - (bottom - top) * (right - left) / area) / 2


def _better(ranks: NDArray[np.float32], evidence: _Evidence, other: _Shown, own: _Shown) -> Fit:
    """How much better labels fit in another order than in their own."""
    samples = np.concatenate([other.samples, own.samples], axis=1)
    shares = np.concatenate([other.shares, -own.shares], axis=1)
    return Fit.of(ranks, evidence.classes[samples], shares)


def _errors(fit: Fit) -> str:
    return f"{fit.errors:.1f} standard errors, {fit.rows} views"


def _permutations(draws: PermutationDraws) -> str:
    return "one permutation" if draws is PermutationDraws.ONE else "two permutations"
