"""What a fit says of itself; read by people, by the canary and by `budget`."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from labelcast.codec import LabelKind
from labelcast.errors import CodecFormatError
from labelcast_producers.fitting.config import FitConfig
from labelcast_producers.fitting.metrics import Metrics

_SCALES = (1_000_000, 10_000_000, 100_000_000)


class BytesALabel(BaseModel):
    """The two figures that never go without each other.

    Attributes:
        payload: the row's stride in codes.
        total_here: payload and codec, over the labels of this set.
        total_at: the same at 1, 10 and 100 million labels.
        dense_fp16: what a label weighs uncompressed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    payload: int
    total_here: float
    total_at: dict[int, float]
    dense_fp16: int

    @classmethod
    def of(
        cls, *, payload: int, codec_bytes: int, num_rows: int, num_classes: int
    ) -> "BytesALabel":
        """Work them out."""
        return cls(
            payload=payload,
            total_here=payload + codec_bytes / num_rows,
            total_at={scale: payload + codec_bytes / scale for scale in _SCALES},
            dense_fp16=2 * num_classes,
        )


class FitReport(BaseModel):
    """A finished fit.

    Attributes:
        config: its settings.
        label_kind: what was fitted.
        num_rows: N of the whole file.
        num_classes: C.
        labels_digest: identifies the labels (shape and a sample of their values).
        codec_digest: sha256 (hex) of the artifact.
        codec_bytes: size of the artifact.
        seconds: wall time of the fitting steps, over all resumptions.
        device: where they ran.
        compute: their arithmetic.
        seen: measured on rows that were fitted.
        unseen: measured on held-out rows; None where nothing was held out.
        bytes_a_label: payload and totals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: FitConfig
    label_kind: LabelKind
    num_rows: int
    num_classes: int
    labels_digest: str
    codec_digest: str
    codec_bytes: int
    seconds: float
    device: str
    compute: str
    seen: Metrics
    unseen: Metrics | None
    bytes_a_label: BytesALabel

    def to_json(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, no NaN."""
        values = self.model_dump(mode="json")
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read_report(path: Path) -> FitReport:
    """Read what `to_json` wrote.

    Raises:
        CodecFormatError: missing, or no fit report.
    """
    try:
        return FitReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise CodecFormatError(f"{path} is no fit report: {reason}") from None
