"""Checks derived sample IDs: the teacher labels some stored views again.

Rules:
  * views are taken from epochs after the first if there are any: the first has the same order
    whether torch's sampler drew one permutation per epoch or two;
  * errors are measured relative to how much labels differ between views, not to their size: what a
    teacher says about every image must not pass for agreement;
  * an order that is not confirmed is refused, never kept.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelcast.augmentation import Mix, RecordedPolicy, RecordedViews, UnrenderedPolicy
from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.torch.device import choose_device
from labelcast.torch.images.replay_recorded import render_recorded
from labelcast.torch.images.samples import SampleTable
from labelcast.views import Views
from labelcast_producers.formats.source import Part, PermutationDraws, Source, SourceFacts
from labelcast_producers.relabel.teacher import Teacher

# Measured with small CNNs on views of 48 to 224 pixels that Pillow rendered, and labels in half
# precision: trained ones have 0.0003 to 0.009 for the right order, 0.95 and more for the other, and
# another network trained on the same images has 0.29 and more. JPEG decoders differ, and so does
# the precision that labels were computed in: hence so much room above what was measured.
MOST_ERROR = 0.1
LEAST_AGREEMENT = 0.95
# Between these, another order cannot be ruled out.
LEAST_RIVAL_ERROR = 0.3
_MOST_PARTS = 16
_BATCH_VIEWS = 32
_TINY = 1e-30

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a teacher confirmed.

    Attributes:
        draws: permutations per epoch of the confirmed order; AUTO if sources were given without
            draws.
        position: position of the confirmed source among those given.
        agreement: share of views whose likeliest class was confirmed.
        median_error: median error of the labels; 0 is equality, 1 and more is another image's
            label.
        views: number of views labelled again.
    """

    draws: PermutationDraws
    position: int
    agreement: float
    median_error: float
    views: int


@dataclass(frozen=True, slots=True)
class _Claim:
    """One order that is claimed."""

    draws: PermutationDraws
    position: int
    source: Source


@dataclass(frozen=True, slots=True)
class _Finding:
    claim: _Claim
    agreement: float
    error: float
    views: int
    trouble: str = ""

    @property
    def fits(self) -> bool:
        return self.error <= MOST_ERROR and self.agreement >= LEAST_AGREEMENT

    def __str__(self) -> str:
        draws = self.claim.draws
        named = "this order" if draws is PermutationDraws.AUTO else f"--draws {draws}"
        if self.trouble:
            return f"{named}: {self.trouble}"
        return (
            f"{named}: top-1 agreement {self.agreement:.1%} and median error {self.error:.3g} on"
            f" {self.views} views"
        )


def verify_order(
    sources: Mapping[PermutationDraws, Source] | Sequence[Source],
    teacher: nn.Module,
    table: SampleTable,
    *,
    views: int = 64,
    device: str = "auto",
    output: str | None = None,
    from_probabilities: bool = False,
) -> Verification:
    """Find the order that the teacher confirms.

    Args:
        sources: the same files, scanned under each possible order.
        teacher: images from 0 to 1, float (N, channels, height, width), to logits (N, C) or
            something that holds them; it normalises its input itself. It is moved to `device`, and
            run in eval mode.
        table: images that were labelled.
        views: number of stored views to label again, approximately.
        device: torch device or "auto".
        output: see `Teacher`.
        from_probabilities: see `Teacher`.

    Raises:
        LabelFileError: the teacher confirms no order, or more than one; says what was found for
            each and what to check. Also if files are damaged, or a sample has no image.
        InvalidRequestError: there is nothing to verify, labels say too little, or the teacher is no
            module, refuses the images or gives no logits.
        LabelValueError: the teacher ends in a softmax, or not, and something else was said.
    """
    claims = _distinct(_claims(sources))
    if not isinstance(teacher, nn.Module):
        raise InvalidRequestError(f"the teacher is a {type(teacher).__name__}, not a torch module")
    if not claims or views < 2:
        raise InvalidRequestError("verifying an order needs a source, and at least two views")
    where = choose_device(device)
    with _evaluating(teacher.to(where)):
        network = Teacher(
            teacher, type(teacher).__name__, output=output, from_probabilities=from_probabilities
        )
        findings = [_examine(claim, network, table, views, where) for claim in claims]
    best = min(findings, key=lambda finding: finding.error)
    rivals = [each for each in findings if each is not best and each.error < LEAST_RIVAL_ERROR]
    if not best.fits or rivals:
        _refuse(findings, "cannot tell the orders apart" if best.fits else "confirms no order")
    return Verification(
        draws=best.claim.draws,
        position=best.claim.position,
        agreement=best.agreement,
        median_error=best.error,
        views=best.views,
    )


def _refuse(findings: Sequence[_Finding], verdict: str) -> None:
    found = "; ".join(str(finding) for finding in findings)
    given = all(each.claim.draws is PermutationDraws.AUTO for each in findings)
    sampler = "" if given else ", the sampler's seed and draws"
    raise LabelFileError(
        f"the teacher {verdict} of the samples. {found}. An order needs"
        f" {LEAST_AGREEMENT:.0%} and at most {MOST_ERROR:g}, and others at least"
        f" {LEAST_RIVAL_ERROR:g}. Check that these are the images that were labelled, in the"
        f" producer's order (--images, --image-list){sampler}, that views were that large"
        " (--view-size), and that this is the"
        " teacher, with its weights, in eval mode when it made the labels, and normalising its"
        " input as then",
        found=found,
    )


def _claims(sources: Mapping[PermutationDraws, Source] | Sequence[Source]) -> list[_Claim]:
    if isinstance(sources, Mapping):
        named = list(sources.items())
    else:
        named = [(PermutationDraws.AUTO, source) for source in sources]
    return [_Claim(draws, at, source) for at, (draws, source) in enumerate(named)]


def _distinct(claims: Sequence[_Claim]) -> list[_Claim]:
    """Claims that differ: if IDs are in the files, or there is only one epoch, all say the same."""
    kept: list[_Claim] = []
    for claim in claims:
        if not any(_say_the_same(claim.source, other.source) for other in kept):
            kept.append(claim)
    return kept


def _say_the_same(one: Source, other: Source) -> bool:
    return len(one.parts) == len(other.parts) and all(
        ours.path == theirs.path and np.array_equal(ours.rows, theirs.rows)
        for ours, theirs in zip(one.parts, other.parts, strict=True)
    )


def _examine(
    claim: _Claim, teacher: Teacher, table: SampleTable, views: int, device: torch.device
) -> _Finding:
    source, facts = claim.source, claim.source.facts
    rows, labels = _stored(source, views)
    if facts.top_k is not None and facts.top_k.k < 2:
        raise InvalidRequestError(
            "labels of one class each say too little to verify an order; import them without a"
            " teacher"
        )
    try:
        shown = _shown(source, rows, table, device)
    except InvalidRequestError as error:
        # An image of the wrong sample may be too small for the crop.
        return _Finding(claim, 0.0, math.inf, len(rows), error.message)
    answers = np.concatenate([_answer(teacher, pixels) for pixels in shown])
    if answers.shape != labels.shape:
        raise LabelFileError(
            f"the teacher gives {answers.shape[1]} classes, the labels have {labels.shape[1]}; is"
            " it the teacher that made them?"
        )
    if not np.isfinite(answers).all():
        raise LabelFileError("the teacher gives NaN or infinity on some of the views")
    # Labels of low precision may tie; then any of the likeliest is right.
    top = np.take_along_axis(labels, answers.argmax(axis=1)[:, None], axis=1)[:, 0]
    agreement = float((top == labels.max(axis=1)).mean())
    return _Finding(claim, agreement, _median_error(facts, labels, answers), len(rows))


def _stored(source: Source, views: int) -> tuple[NDArray[np.int64], Values]:
    """Rows of the chosen views, and their labels: int64 (n,), float64 (n, C)."""
    parts = _chosen_parts(source)
    each = -(-views // len(parts))
    rows, labels = [], []
    for part in parts:
        at = _evenly(len(part.rows), each)
        rows.append(part.rows[at])
        labels.append(source.read(part)[at].astype(np.float64))
    return np.concatenate(rows), np.concatenate(labels)


def _chosen_parts(source: Source) -> list[Part]:
    parts = [part for part in source.parts if len(part.rows)]
    if not parts:
        raise LabelFileError("there are no labels in these files")
    index = source.facts.index
    ends = np.array([[part.rows[0], part.rows[-1]] for part in parts])
    seeds = index.views_at(ends.reshape(-1)).seeds.reshape(ends.shape)
    later = [part for part, of in zip(parts, seeds, strict=True) if (of != index.seeds[0]).any()]
    deciding = later or parts
    return [deciding[at] for at in _evenly(len(deciding), _MOST_PARTS).tolist()]


def _evenly(count: int, most: int) -> NDArray[np.intp]:
    """At most `most` of `count` positions, including the first and the last."""
    return np.unique(np.rint(np.linspace(0, count - 1, min(count, most)))).astype(np.intp)


def _shown(
    source: Source, rows: NDArray[np.int64], table: SampleTable, device: torch.device
) -> list[Tensor]:
    """The claimed views, in batches."""
    records = source.records()
    return [
        _pixels(source.facts, records, rows[start : start + _BATCH_VIEWS], table, device)
        for start in range(0, len(rows), _BATCH_VIEWS)
    ]


def _answer(teacher: Teacher, pixels: Tensor) -> Values:
    """The teacher's labels of views: logits, float64 (n, C)."""
    logits: Values = teacher.logits(pixels).double().numpy()
    return logits


def _pixels(
    facts: SourceFacts,
    records: RecordedViews | None,
    rows: NDArray[np.int64],
    table: SampleTable,
    device: torch.device,
) -> Tensor:
    views, policy = facts.index.views_at(rows), facts.policy
    if isinstance(policy, UnrenderedPolicy):
        raise InvalidRequestError(f"the views of these labels are {policy.meaning}")
    own = _images(table, views, device)
    if not isinstance(policy, RecordedPolicy) or records is None:
        if any(image.shape != own[0].shape for image in own):
            raise InvalidRequestError("samples as they are must be images of one size")
        return torch.stack(own)
    recorded = records[rows]
    if policy.mix is Mix.NONE:
        return render_recorded(policy, recorded, own, None, None)
    partners = Views(recorded.partner_sample_ids, recorded.partner_seeds)
    partner_rows, known = facts.index.rows(partners)
    if not known.all():
        raise LabelFileError("a view is mixed with one that the files lack")
    images = _images(table, partners, device)
    return render_recorded(policy, recorded, own, records[partner_rows], images)


def _images(table: SampleTable, views: Views, device: torch.device) -> list[Tensor]:
    strangers = ~np.isin(views.sample_ids, table.sample_ids)
    if strangers.any():
        raise LabelFileError(
            f"the files hold labels of sample {views.sample_ids[strangers][0]}, which is none of"
            f" the {len(table)} images; give the images that were labelled"
        )
    return [image.to(device) for image in table.image_list(views.sample_ids)]


def _median_error(facts: SourceFacts, labels: Values, answers: Values) -> float:
    """Median over views of how far labels lie apart, as a share of how far views lie apart.

    For logits, distances between centred logits; for probabilities, roots of KL divergences, which
    for flat distributions are the same thing. Of top-k labels, only the classes kept are compared.
    """
    kept = np.ones(labels.shape, dtype=np.bool_)
    if facts.top_k is not None:
        kept = np.zeros_like(kept)
        top = np.argpartition(labels, -facts.top_k.k, axis=1)[:, -facts.top_k.k :]
        np.put_along_axis(kept, top, True, axis=1)
    if facts.label_kind is LabelKind.LOGITS:
        usual = np.broadcast_to(answers.mean(axis=0), answers.shape)
        apart = _distances(labels, answers, kept)
        spread = float(np.sqrt((_distances(labels, usual, kept) ** 2).mean()))
    else:
        # Underflow of small ones does no harm: they weigh as much as they are likely.
        given = _softmax(answers / (facts.temperature or 1.0))
        usual = np.broadcast_to(given.mean(axis=0), given.shape)
        apart = np.sqrt(_divergences(labels, given, kept))
        spread = float(np.sqrt(_divergences(labels, usual, kept).mean()))
    return float(np.median(apart)) / spread if spread > _TINY else math.inf


def _distances(ones: Values, others: Values, kept: NDArray[np.bool_]) -> Values:
    difference = np.where(kept, ones - others, 0)
    difference -= difference.sum(axis=1, keepdims=True) / kept.sum(axis=1, keepdims=True)
    distances: Values = np.sqrt((np.where(kept, difference, 0) ** 2).sum(axis=1))
    return distances


def _divergences(wanted: Values, given: Values, kept: NDArray[np.bool_]) -> Values:
    """KL divergences of distributions over the classes that are kept."""
    p, q = (np.where(kept, values, 0) for values in (wanted, given))
    p, q = (values / np.maximum(values.sum(axis=1, keepdims=True), _TINY) for values in (p, q))
    ratio = np.log(np.maximum(p, _TINY)) - np.log(np.maximum(q, _TINY))
    divergences: Values = np.maximum((p * ratio).sum(axis=1), 0)
    return divergences


def _softmax(logits: Values) -> Values:
    likely = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Values = likely / likely.sum(axis=1, keepdims=True)
    return shares


@contextmanager
def _evaluating(teacher: nn.Module) -> Iterator[Any]:
    """Eval mode without gradients; afterwards every module is restored."""
    modes = [(module, module.training) for module in teacher.modules()]
    teacher.eval()
    try:
        with torch.inference_mode():
            yield teacher
    finally:
        for module, training in modes:
            module.training = training
