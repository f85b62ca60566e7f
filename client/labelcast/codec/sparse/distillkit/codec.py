"""`distillkit`: what DistillKit stores of a token, its log-probabilities and then its indices.

An index is a class ID; indices are packed the highest bit first, in the order of the values.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import CodecHeader, LabelKind, TensorSpecs, choice, only_keys
from labelcast.codec.sparse.base import SparseCodec, SparseLabels
from labelcast.codec.sparse.distillkit.decompress import class_ids, log_probabilities
from labelcast.codec.sparse.distillkit.settings import Settings
from labelcast.codec.sparse.missing_mass import MissingMass
from labelcast.errors import CodecFormatError, CodeRangeError, LabelValueError
from labelcast.views import Rows

# Rounding and the fit to the tail may add so much; it is scaled back.
MAX_TOTAL = 1.01


class DistillKitCodec(SparseCodec):
    """Labels of DistillKit's bytes.

    Args:
        header: probabilities at temperature 1, of as many classes as the settings have.
        settings: how bytes are cut up.
        missing: what the classes get that are not named; DistillKit's trainer divides by the sum.

    Raises:
        CodecFormatError: the header says something else.
    """

    name = "distillkit"

    def __init__(self, header: CodecHeader, settings: Settings, missing: MissingMass) -> None:
        super().__init__(header)
        if header.label_kind is not LabelKind.PROBABILITIES or settings.d != header.num_classes:
            raise CodecFormatError(
                f"{self.name} rows give probabilities of {settings.d} classes, not"
                f" {header.label_kind} of {header.num_classes}"
            )
        self.settings = settings
        self.missing = missing

    @property
    def row_stride(self) -> int:
        return self.settings.value_bytes + self.settings.index_bytes

    def config(self) -> dict[str, Any]:
        return self.settings.as_json() | {"missing": str(self.missing)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def tensor_specs(cls, header: CodecHeader, config: Mapping[str, Any]) -> TensorSpecs:
        _parsed(header, config)
        return {}

    @classmethod
    def build(
        cls, header: CodecHeader, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        return cls(header, *_parsed(header, config))

    @classmethod
    def named_classes(cls, header: CodecHeader, config: Mapping[str, Any]) -> int:
        return _parsed(header, config)[0].k

    def sparse(self, rows: Rows) -> SparseLabels:
        self._check_shape(rows)
        ids = self._ids(rows)
        probabilities = self._probabilities(rows)
        totals = probabilities.sum(axis=1)
        if not (totals > 0).all():
            raise LabelValueError("a row gives a probability to none of its classes")
        if self.missing is not MissingMass.RENORMALISE:
            # Written so that infinity fails.
            if not (totals <= MAX_TOTAL).all():
                raise LabelValueError(
                    f"probabilities sum to {totals.max():.4g}: the fit to their tail gives too much"
                    " where few are exact; take the rule renormalise, as DistillKit's trainer does"
                )
            probabilities /= np.maximum(totals, 1)[:, None]
        mass = np.maximum(1 - totals, 0)
        return self.missing.completed(ids, probabilities, mass, self.header.num_classes)

    def _ids(self, rows: Rows) -> NDArray[np.int64]:
        settings = self.settings
        packed = rows[:, settings.value_bytes :]
        unused = 8 * settings.index_bytes - settings.index_bits * settings.k
        if (packed[:, -1:] & ((1 << unused) - 1)).any():
            raise CodecFormatError("padding bits after the last index are not zero")
        ids = class_ids(packed, settings)
        if ids.size and ids.max() >= settings.d:
            raise CodeRangeError(f"class ID {ids.max()} is outside the {settings.d} classes")
        in_order = np.sort(ids, axis=1)
        if (in_order[:, 1:] == in_order[:, :-1]).any():
            raise CodecFormatError("a row names one class twice")
        return ids

    def _probabilities(self, rows: Rows) -> NDArray[np.float64]:
        logs = log_probabilities(rows[:, : self.settings.value_bytes], self.settings)
        if not np.isfinite(logs).all():
            raise LabelValueError("a row holds log-probabilities that are not finite")
        with np.errstate(over="ignore", under="ignore"):
            probabilities = np.exp(logs.astype(np.float64))
        if not (probabilities <= np.finfo(np.float32).max).all():
            raise LabelValueError("a row holds log-probabilities that are far above 0")
        return probabilities


def _parsed(header: CodecHeader, config: Mapping[str, Any]) -> tuple[Settings, MissingMass]:
    only_keys(config, *Settings.json_keys(), "missing")
    return Settings.from_json(header.num_classes, config), choice(config, "missing", MissingMass)
