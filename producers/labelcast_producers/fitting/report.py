"""The report of a fit, for people, the canary and `budget`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from labelcast.codec import LabelKind
from labelcast.errors import CodecFormatError
from labelcast_producers.fitting.config import FitConfig
from labelcast_producers.fitting.context_choice import ContextChoice
from labelcast_producers.fitting.metrics import Metrics

_SCALES = (1_000_000, 10_000_000, 100_000_000)
# Unseen labels are kept as well as fitted ones if their KL is larger by no more than the larger of
# these: a tenth of it, or a hundredth of a nat, which no student tells.
_SMALL_SHARE, _SMALL_NATS = 0.1, 0.01


class BytesALabel(BaseModel):
    """Bytes per label; payload and total are never given one without the other.

    Attributes:
        payload: bytes of a label's codes.
        total_here: payload and codec, per label of this set.
        total_at: the same at 1, 10 and 100 million labels.
        dense_fp16: bytes of an uncompressed label.
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
        """Compute them."""
        return cls(
            payload=payload,
            total_here=payload + codec_bytes / num_rows,
            total_at={scale: payload + codec_bytes / scale for scale in _SCALES},
            dense_fp16=2 * num_classes,
        )


class FitReport(BaseModel):
    """A finished fit.

    Attributes:
        config: settings of the fit, with those that it chose itself.
        context_choice: what decided on context; None if the settings or the labels did.
        label_kind: kind of the labels.
        num_rows: rows in the whole file, N.
        fitted_rows: rows that were fitted; None in reports of earlier versions.
        num_classes: number of classes, C.
        labels_digest: digest that identifies the labels (shape and a sample of their values).
        codec_digest: sha256 (hex) of the artifact.
        codec_bytes: size of the artifact.
        seconds: wall time of the fitting steps, over all resumptions.
        device: device of the fitting steps.
        compute: arithmetic of the fitting steps.
        seen: quality on rows that were fitted.
        unseen: quality on held-out rows; None if there are none.
        bytes_a_label: payload and totals per label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: FitConfig
    context_choice: ContextChoice | None = None
    label_kind: LabelKind
    num_rows: int
    fitted_rows: int | None = None
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

    @field_validator("config", mode="before")
    @classmethod
    def _of_earlier_versions(cls, config: Any) -> Any:
        """Leave out what decided on context before: trials shorter than the fit."""
        if isinstance(config, Mapping):
            return {name: value for name, value in config.items() if name != "trial_steps"}
        return config

    @property
    def asked_for(self) -> FitConfig:
        """`config` as it was before the fit chose."""
        if self.context_choice is None:
            return self.config
        return self.config.model_copy(update={"class_width": None})

    @property
    def labels_wanted(self) -> int | None:
        """How many fitted labels would let unseen ones be kept about as well as fitted ones.

        An order of magnitude: half the gap is taken to be left with twice the labels (measured on
        EfficientNet-Lite0's labels at 8 bytes: from 6,300 to 12,600, it fell from 0.045 to 0.025
        nats). None if no labels are held out, or if there are enough.
        """
        if self.unseen is None or self.fitted_rows is None:
            return None
        small = max(_SMALL_SHARE * self.seen.kl_nats, _SMALL_NATS)
        gap = self.unseen.kl_nats - self.seen.kl_nats
        wanted = round(self.fitted_rows * gap / small)
        return wanted if wanted > self.fitted_rows else None

    def to_json(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, no NaN."""
        values = self.model_dump(mode="json")
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read_report(path: Path) -> FitReport:
    """Read what `to_json` wrote.

    Raises:
        CodecFormatError: it is missing, or no fit report.
    """
    try:
        return FitReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise CodecFormatError(f"{path} is no fit report: {reason}") from None
