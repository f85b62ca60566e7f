"""Every point of the benchmark, in the order of the queue."""

from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from benchmarks.codec.contract import Fit
from benchmarks.codec.task import Protocol


class Supervision(StrEnum):
    """What a student learns from."""

    DENSE = "dense"
    HARD_UNMIXED = "hard-unmixed"
    HARD_MIXED = "hard-mixed"
    DECODED = "decoded"


@dataclass(frozen=True)
class Point:
    """One codec at one size.

    Attributes:
        name: as `--point` takes it.
        family: points that differ in size alone share it.
        supervision: what its students learn from.
        fit: makes the codec; None for the yardsticks.
        ours: whether it is labelcast's, and has as many students as the yardstick.
    """

    name: str
    family: str
    supervision: Supervision = Supervision.DECODED
    fit: Fit | None = None
    ours: bool = False

    def seeds(self, protocol: Protocol) -> range:
        """Of its students."""
        many = self.ours or self.supervision is Supervision.DENSE
        return range(protocol.seeds if many else protocol.rival_seeds)


def _yardsticks() -> list[Point]:
    kinds = (Supervision.DENSE, Supervision.HARD_UNMIXED, Supervision.HARD_MIXED)
    return [Point(kind, kind, kind) for kind in kinds]


def _rivals() -> list[Point]:
    # Imported here: names of points are needed where faiss is not.
    from benchmarks.codec.faiss_codecs import FAMILIES, Method, fit_faiss
    from benchmarks.codec.library_vqae import fit_library_vqae
    from benchmarks.codec.low_rank import fit_low_rank
    from benchmarks.codec.top_k import fit_top_k
    from benchmarks.codec.uniform import fit_uniform
    from labelcast.codec import Recovery

    points = [
        Point(f"{family}-{k}", family, fit=partial(fit_top_k, k=k, recovery=recovery))
        for recovery in Recovery
        for k in (1, 2, 5, 10, 20)
        for family in (f"topk-{recovery}",)
    ]
    points += [
        Point(f"int{bits}", "uniform", fit=partial(fit_uniform, bits=bits)) for bits in (8, 4, 2)
    ]
    points += [
        Point(f"pca-{size}", "pca", fit=partial(fit_low_rank, size=size)) for size in (8, 16, 32)
    ]
    points += [
        Point(
            f"{family}-{codes}",
            family,
            fit=partial(fit_faiss, method=method, codes=codes, features=features),
        )
        for family, (method, features) in FAMILIES.items()
        # With one or two codes product and residual quantization hardly differ.
        for codes in ((1, 2, 4, 8, 16) if method is Method.RESIDUAL else (4, 8, 16))
    ]
    points += [
        Point(f"vq-library-{codes}", "vq-library", fit=partial(fit_library_vqae, codes=codes))
        for codes in (4, 8, 16)
    ]
    return points


def _ours() -> list[Point]:
    from benchmarks.codec.ours import fit_ours

    sizes = [("vqae", size) for size in (0, 1, 2, 4, 8, 16)]
    sizes += [("vqae-plain", size) for size in (1, 2, 4, 8, 16)]
    return [
        Point(
            f"{family}-{codes}",
            family,
            fit=partial(fit_ours, codes=codes, context=family == "vqae"),
            ours=True,
        )
        for family, codes in sizes
    ]


def all_points() -> dict[str, Point]:
    """Points by name: yardsticks, rivals, ours."""
    return {point.name: point for point in (*_yardsticks(), *_rivals(), *_ours())}


QUICK_POINTS = ("dense", "hard-mixed", "hard-unmixed", "pq-8", "vqae-plain-8", "vqae-8")
