"""What a training process is told, and what it tells; both JSON."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class Loop(StrEnum):
    """Where a loop asks for its labels."""

    PLAIN = "plain"
    WORKERS = "workers"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One process of a training run.

    Attributes:
        loop: where labels are asked for.
        array: path of all labels as fp16, shape (epochs · samples, C); None to ask the service.
        address: of the service.
        tag: of the label set.
        cache: directory that keeps the codec and whole shards; None for none.
        samples: of the label set; each epoch takes one seed.
        epochs: of the run. The first is left out of times.
        batch_size: of this process.
        rank: of this process.
        num_ranks: processes that train together.
        meeting: file where they meet; only if there are several.
        state: of a run to go on with; None to begin.
    """

    loop: Loop
    array: str | None
    address: str
    tag: str
    cache: str | None = None
    samples: int
    epochs: int
    batch_size: int
    rank: int = 0
    num_ranks: int = 1
    meeting: str | None = None
    state: dict[str, Any] | None = None

    def as_json(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `as_json` wrote."""
        values = json.loads(text)
        return cls(**values | {"loop": Loop(values["loop"])})


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a process says of its run.

    Attributes:
        first_label_seconds: from the opening of the label set to its first batch of labels.
        steps: of each epoch.
        seconds: of each epoch.
        cpu_seconds: of each epoch, of this process and its workers.
        wire_bytes: of each epoch, of this process and its workers; the opening is in the first.
    """

    first_label_seconds: float
    steps: int
    seconds: list[float]
    cpu_seconds: list[float]
    wire_bytes: list[int]
