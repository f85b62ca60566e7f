"""What every codec of the benchmark is: rows of bytes, and all that a decoder needs besides."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec.label_task import LabelTask
from labelcast.codec import LabelKind
from labelcast_producers.fitting.sampling import RowNumbers

Packed = NDArray[np.uint8]
Values = NDArray[np.float32]

# Sample ID and hard label, which every label set stores once a sample.
SAMPLE_BYTES = 12


class BenchmarkCodec(ABC):
    """A fitted codec.

    Every codec MUST decode from packed rows and what `codec_bytes` counts alone; row numbers say
    which views they are, for codecs that use what both ends know of a view.

    Attributes:
        label_kind: of decoded labels.
        codec_bytes: what every decoder holds: bases, codebooks, networks.
        sample_bytes: what is stored once for each sample.
        fit_seconds: of the fit, where it knows better than the clock; else None.
        choice: the settings that the fit chose from, with what it measured, for the report.
    """

    label_kind: ClassVar[LabelKind] = LabelKind.LOGITS
    codec_bytes: int = 0
    sample_bytes: float = SAMPLE_BYTES
    fit_seconds: float | None = None

    def __init__(self) -> None:
        self.choice: dict[str, Any] = {}

    @abstractmethod
    def encode(self, labels: NDArray[Any], rows: RowNumbers) -> Packed:
        """Pack teacher's logits (n, C): uint8, shape (n, payload bytes)."""

    @abstractmethod
    def decode(self, packed: Packed, rows: RowNumbers) -> Values:
        """Labels of packed rows: float32, shape (n, C), of `label_kind`."""


@dataclass(frozen=True)
class FitInput:
    """What a fit is given.

    Attributes:
        task: labels and split; a fit reads `task.fitted_rows()` and no others.
        out: directory for checkpoints.
    """

    task: LabelTask
    out: Path


Fit = Callable[[FitInput], BenchmarkCodec]
