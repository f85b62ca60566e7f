"""Top-k: labelcast's own codec of that name, with the two published rules for the rest."""

from typing import Any, ClassVar

from numpy.typing import NDArray

from benchmarks.codec.contract import BenchmarkCodec, FitInput, Packed, Values
from labelcast.codec import LabelKind, Recovery
from labelcast_producers.fitting.sampling import RowNumbers
from labelcast_producers.neural.encoding import TopKEncoder


class TopK(BenchmarkCodec):
    """The k likeliest classes, 4 bytes each."""

    label_kind: ClassVar[LabelKind] = LabelKind.PROBABILITIES

    def __init__(self, num_classes: int, *, k: int, recovery: Recovery) -> None:
        super().__init__()
        self._encoder = TopKEncoder(
            num_classes, k=k, label_kind=LabelKind.LOGITS, recovery=recovery
        )

    def encode(self, labels: NDArray[Any], rows: RowNumbers) -> Packed:
        return self._encoder.encode(labels)

    def decode(self, packed: Packed, rows: RowNumbers) -> Values:
        return self._encoder.codec.decode(packed)


def fit_top_k(given: FitInput, *, k: int, recovery: Recovery) -> BenchmarkCodec:
    """Nothing to fit."""
    return TopK(given.task.num_classes, k=k, recovery=recovery)
