"""Every point: a form of labels, and the students that learn from it."""

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from benchmarks.codec.contract import Fit
from benchmarks.imagenet.networks import Architecture

LABEL_SMOOTHING = 0.1


class Supervision(StrEnum):
    """What a student learns from.

    HARD: the hard labels of both pictures of a view, weighted by the area that CutMix gave each.
    HARD_SMOOTHED: the same, with a tenth of the probability spread over all classes.
    """

    DENSE = "dense"
    HARD = "hard"
    HARD_SMOOTHED = "hard-smoothed"
    DECODED = "decoded"

    @property
    def label_smoothing(self) -> float | None:
        """Probability that hard labels spread over all classes; None where labels are soft."""
        smoothed = {Supervision.HARD: 0.0, Supervision.HARD_SMOOTHED: LABEL_SMOOTHING}
        return smoothed.get(self)


class Kept(StrEnum):
    """Which views have soft labels; all students take as many steps.

    PRUNED: a few of all batches of views, as LPLD keeps them (arXiv 2410.15919).
    FEW: a few views of each picture, as HALD keeps them (arXiv 2512.15647): a third of the steps on
        these, a third on the hard labels of all views, and a third on these again.
    """

    ALL = "all"
    PRUNED = "pruned"
    FEW = "few"


class Recipe(StrEnum):
    """Whose views were labelled."""

    SRE2L = "sre2l"
    RDED = "rded"


@dataclass(frozen=True)
class Students:
    """Students of one kind: one for each seed."""

    architecture: Architecture
    kept: Kept = Kept.ALL

    @property
    def name(self) -> str:
        """Of their units, before the seed."""
        suffix = "" if self.kept is Kept.ALL else f"-{self.kept}"
        return f"{self.architecture}{suffix}"


@dataclass(frozen=True)
class Point:
    """One form of labels.

    Attributes:
        name: as `--point` takes it.
        title: for people.
        supervision: what its students learn from.
        fit: makes the codec; None for the yardsticks.
        students: kinds of students; none where only the labels are compared with the teacher's.
        recipe: whose views the codec is fitted to.
        temperature: of teacher and student, and of the labels that the codec is to be near to.
        ours: whether the codec is labelcast's.
    """

    name: str
    title: str
    supervision: Supervision = Supervision.DECODED
    fit: Fit | None = None
    students: tuple[Students, ...] = ()
    recipe: Recipe = Recipe.SRE2L
    temperature: float = 1.0
    ours: bool = False


_RESNET = Students(Architecture.RESNET)
_BOTH = (_RESNET, Students(Architecture.MOBILENET))
_FEWER = tuple(Students(Architecture.RESNET, kept) for kept in (Kept.PRUNED, Kept.FEW))
DENSE, HARD, HARD_SMOOTHED = "dense", "hard", "hard-smoothed"
SOFTER = 2.0
_SOFTENED = (DENSE, "vqae-8", "rq-8")


def _yardsticks() -> list[Point]:
    return [
        Point(DENSE, "dense, fp16", Supervision.DENSE, students=_BOTH),
        Point(HARD, "hard, by area", Supervision.HARD, students=_BOTH),
        Point(
            HARD_SMOOTHED,
            "hard, by area, smoothed",
            Supervision.HARD_SMOOTHED,
            students=(_RESNET,),
        ),
    ]


def _ours(
    codes: int,
    *,
    context: bool = True,
    students: tuple[Students, ...] = (),
    recipe: Recipe = Recipe.SRE2L,
) -> Point:
    from benchmarks.codec.ours import fit_ours

    return Point(
        _named(f"{'vqae' if context else 'vqae-plain'}-{codes}", recipe),
        f"ours{'' if context else ', no context'}, {codes} B",
        fit=partial(fit_ours, codes=codes, context=context),
        students=students,
        recipe=recipe,
        ours=True,
    )


def _quantized(
    family: str,
    codes: int,
    *,
    students: tuple[Students, ...] = (),
    recipe: Recipe = Recipe.SRE2L,
) -> Point:
    # Imported here: names of points are needed where faiss is not.
    from benchmarks.codec.faiss_codecs import FAMILIES, fit_faiss
    from benchmarks.codec.features import Feature

    method, features = FAMILIES[family]
    title = {"pq": "product quantization", "rq": "residual quantization"}[method]
    of = "roots" if Feature.ROOT in features else "logits"
    return Point(
        _named(f"{family}-{codes}", recipe),
        f"{title} of {of}, {codes} B",
        fit=partial(fit_faiss, method=method, codes=codes, features=features),
        students=students,
        recipe=recipe,
    )


def _top_k(k: int, *, spread: bool = False, students: tuple[Students, ...] = ()) -> Point:
    from benchmarks.codec.top_k import fit_top_k
    from labelcast.codec import Recovery

    recovery = Recovery.SPREAD if spread else Recovery.RENORMALISE
    rest = "the rest spread" if spread else "renormalised"
    return Point(
        f"topk-{recovery}-{k}",
        f"top-{k} {rest}, {4 * k} B",
        fit=partial(fit_top_k, k=k, recovery=recovery),
        students=students,
    )


def _softer(point: Point) -> Point:
    """The same labels, and a codec fitted to them, at a higher temperature."""
    return replace(
        point,
        name=softened(point.name),
        title=f"{point.title}, T = {SOFTER:g}",
        students=(_RESNET,),
        temperature=SOFTER,
    )


def softened(name: str) -> str:
    """Name of a point at the higher temperature."""
    return f"{name}-t{SOFTER:g}"


def _named(name: str, recipe: Recipe) -> str:
    return name if recipe is Recipe.SRE2L else f"{recipe}-{name}"


def all_points() -> dict[str, Point]:
    """Points by name, in the order of the queue: those with students first."""
    alone = (_RESNET,)
    taught = [
        *_yardsticks(),
        _ours(8, students=(*_BOTH, *_FEWER)),
        _ours(4, students=_BOTH),
        _ours(2, students=_BOTH),
        _ours(8, context=False, students=alone),
        *(_quantized("rq-root", codes, students=alone) for codes in (8, 4, 2)),
        *(_quantized("rq", codes, students=alone) for codes in (8, 4, 2)),
        *(_quantized("pq-root", codes, students=alone) for codes in (8, 4)),
        _top_k(2, students=alone),
        _top_k(5, students=alone),
    ]
    points = [
        *taught,
        *(_softer(point) for point in taught if point.name in _SOFTENED),
        *(_ours(codes) for codes in (1, 16)),
        *(_ours(codes, context=False) for codes in (1, 2, 4, 16)),
        *(_quantized(family, 16) for family in ("rq", "pq-root")),
        *(_top_k(k, spread=True) for k in (2, 5, 10, 20)),
        *(_ours(codes, recipe=Recipe.RDED) for codes in (8, 4, 2)),
        _ours(8, context=False, recipe=Recipe.RDED),
        *(_quantized(family, 8, recipe=Recipe.RDED) for family in ("rq-root", "pq-root")),
    ]
    return {point.name: point for point in points}


QUICK_POINTS = (
    DENSE,
    HARD,
    HARD_SMOOTHED,
    "vqae-8",
    "topk-renormalise-2",
    "topk-spread-2",
    "rded-vqae-plain-8",
)
