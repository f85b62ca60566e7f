"""`raw`: the labels themselves, the reference for every other codec."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import (
    Codec,
    CodecHeader,
    Labels,
    Precision,
    TensorSpecs,
    choice,
    only_keys,
)
from labelcast.codec.finite import all_finite
from labelcast.errors import LabelValueError
from labelcast.views import Rows


class RawCodec(Codec):
    """C values a row in one precision."""

    name = "raw"

    def __init__(self, header: CodecHeader, precision: Precision) -> None:
        super().__init__(header)
        self.precision = precision

    @property
    def row_stride(self) -> int:
        return self.header.num_classes * self.precision.dtype.itemsize

    def config(self) -> dict[str, Any]:
        return {"precision": str(self.precision)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def tensor_specs(cls, header: CodecHeader, config: Mapping[str, Any]) -> TensorSpecs:
        only_keys(config, "precision")
        choice(config, "precision", Precision)
        return {}

    @classmethod
    def build(
        cls, header: CodecHeader, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        return cls(header, choice(config, "precision", Precision))

    def check_rows(self, rows: Rows) -> None:
        self._check_shape(rows)
        if not all_finite(self._values(rows)):
            raise LabelValueError("raw rows hold NaN or infinity; relabel or drop those views")

    def decode(self, rows: Rows, context: Rows | None = None) -> Labels:
        self._check_context(rows, context)
        self.check_rows(rows)
        return self._values(rows).astype(np.float32)

    def _values(self, rows: Rows) -> NDArray[Any]:
        return np.ascontiguousarray(rows).view(self.precision.dtype)
