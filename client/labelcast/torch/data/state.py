"""`RunState`: what a checkpoint says of a run, whatever the number of ranks."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast.plans import Plan

_WORDS = ("padding", "missing")
_LABELS = "label_set"
_NO_STATE = "this is no state of a run; give what state_dict() returned, whole"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A place in a run, counted over all ranks, and which run it is.

    Every rank of a run has the same state at the same step. A run resumes under another number of
    ranks if its global batches, the views that all ranks read in one step, stay the same sets.

    Attributes:
        epoch: index into the list of seeds; the number of epochs once the run is over.
        row: rows of that epoch that come before, of all ranks together.
        global_batch_size: views of all ranks in one step.
        num_ranks: ranks that shared the run.
        num_epochs: number of seeds.
        num_samples: number of samples.
        order_key: key of the orders.
        samples: first 64 bits of a SHA-256 of the sample IDs in their order.
        seeds: the same of the seeds.
        padding: what happened to samples that cannot be dealt out evenly.
        missing: what happened to views that are not stored.
    """

    epoch: int
    row: int
    global_batch_size: int
    num_ranks: int
    num_epochs: int
    num_samples: int
    order_key: int
    samples: int
    seeds: int
    padding: str
    missing: str

    def as_json(self) -> dict[str, int | str]:
        """JSON value that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read strictly.

        Raises:
            InvalidRequestError: `as_json` did not return this value.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(value, dict) or value.keys() != names:
            raise InvalidRequestError(_NO_STATE, field="state")
        for name, one in value.items():
            right = isinstance(one, str) if name in _WORDS else type(one) is int and one >= 0
            if not right or (name in {"global_batch_size", "num_ranks"} and not one):
                raise InvalidRequestError(
                    f"the state's {name} cannot be {one!r}; give what state_dict() returned",
                    field="state",
                )
        return cls(**value)

    def require_same_run(self, run: "RunState") -> None:
        """Refuse to go on with `run`, if it would see other batches than this state's.

        Args:
            run: any state of the run that is to go on, with as many of its seeds as this state has.

        Raises:
            InvalidRequestError: says what differs, and what to do.
        """
        if run.num_epochs < self.num_epochs:
            raise _other(
                f"{self.num_epochs} epochs, and this run has {run.num_epochs}",
                "give the full list of seeds of the run, not the remaining ones",
            )
        if run.num_samples != self.num_samples:
            raise _other(
                f"{self.num_samples} samples, and this run has {run.num_samples}",
                "give the whole run's samples on every rank, and rank= and num_ranks= beside them",
            )
        for name, what in (
            ("samples", "other sample IDs, or the same in another order"),
            ("seeds", "other seeds"),
        ):
            if getattr(run, name) != getattr(self, name):
                raise _other(what, "give those that the run began with")
        for name in ("order_key", "padding", "missing"):
            one, other = getattr(self, name), getattr(run, name)
            if one != other:
                raise _other(
                    f"{name}={one}, and this run has {name}={other}", "give what it began with"
                )
        self._require_same_batches(run)

    def _require_same_batches(self, run: "RunState") -> None:
        size, ranks = self.global_batch_size, run.num_ranks
        if size % ranks:
            raise _other(
                f"{size} views a step, which {ranks} ranks cannot share",
                f"resume with a number of ranks that divides {size}",
            )
        if size != run.global_batch_size:
            raise _other(
                f"{size} views a step, and this run has {run.global_batch_size}",
                f"give batch_size={size // ranks} to each of {ranks} ranks",
            )
        if self.row % ranks:
            raise _other(
                f"row {self.row}, inside a batch, where {ranks} ranks cannot go on",
                f"resume with a number of ranks that divides {self.row}",
            )
        if self.padding == "drop" and ranks != self.num_ranks and not self._drops_as_many(ranks):
            raise _other(
                f"{self.num_ranks} ranks and padding=drop, and {ranks} ranks would drop other"
                " samples",
                f"resume with {self.num_ranks} ranks, or run with padding=repeat from the start",
            )

    def _drops_as_many(self, num_ranks: int) -> bool:
        # Where views are missing, how many are dealt out differs by epoch.
        same = self.num_samples % num_ranks == self.num_samples % self.num_ranks
        return same and self.missing != "drop"


def with_labels(state: Mapping[str, int | str], digest: Digest | None) -> dict[str, int | str]:
    """A state of a run that also says which labels it trains on."""
    return {**state, _LABELS: _named(digest)}


def without_labels(state: Any, digest: Digest | None) -> dict[str, Any]:
    """The state of a run, if it was trained on the same labels: a tag may have moved since.

    Args:
        state: what `with_labels` returned.
        digest: of the label set that the run is to go on with; None for labels of none.

    Raises:
        InvalidRequestError: it was trained on others, or this is no such state.
    """
    told = state.get(_LABELS) if isinstance(state, Mapping) else None
    if not isinstance(told, str):
        raise InvalidRequestError(_NO_STATE, field="state")
    if told != _named(digest):
        raise _other(
            f"labels of {told}, and this run's are of {_named(digest)}",
            "open the label set by the digest that the run began with",
        )
    return {name: value for name, value in state.items() if name != _LABELS}


def samples_digest(plan: Plan) -> int:
    """First 64 bits of a SHA-256 of a plan's sample IDs in their order."""
    # A plan keeps consecutive IDs as a range, however they were given.
    if isinstance(plan.samples, range):
        return _digest(b"%d %d" % (plan.samples.start, plan.samples.stop))
    return _digest(plan.samples.astype("<u8").tobytes())


def seeds_digest(seeds: Sequence[int] | NDArray[np.uint32]) -> int:
    """First 64 bits of a SHA-256 of seeds."""
    return _digest(np.asarray(seeds, dtype="<u4").tobytes())


def _digest(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")


def _named(digest: Digest | None) -> str:
    return "no label set" if digest is None else digest


def _other(what: str, remedy: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"this run cannot go on from the state: the state is of {what}; {remedy}", field="state"
    )
