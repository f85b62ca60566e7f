"""The encoder that a command line names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelcast.codec import (
    CodecHeader,
    LabelKind,
    Precision,
    RawCodec,
    Recovery,
    TemperatureRange,
)
from labelcast.errors import InvalidRequestError
from labelcast.torch.device import choose_device
from labelcast_producers.dense.labels import Description
from labelcast_producers.neural.encoding import Encoder, RawEncoder, TopKEncoder
from labelcast_producers.neural.fitted_files import CODEC_FILE, read_fitted_files


@dataclass(frozen=True, eq=False, slots=True)
class ChosenEncoder:
    """An encoder with what was stored beside it.

    Attributes:
        encoder: encoder, ready to use.
        artifact: artifact of a fitted codec, else None.
        fit_report: report of a fitted codec, else None.
    """

    encoder: Encoder
    artifact: bytes | None
    fit_report: dict[str, Any] | None


def choose_encoder(
    text: str, description: Description, *, temperature: float, device: str
) -> ChosenEncoder:
    """Make an encoder from ``raw:fp16``, ``raw:fp32``, ``topk:K[:recovery]`` or a fit directory.

    ``topk:K:logits`` keeps the logits of k classes, which are valid at any temperature.

    Args:
        text: text from the command line.
        description: description of the labels to encode.
        temperature: softmax temperature of a top-k codec.
        device: torch device or "auto".

    Raises:
        InvalidRequestError: the text is none of these.
        CodecError: a file of the directory is missing or damaged, or belongs to a different fit.
    """
    name, *arguments = text.split(":")
    if name == "raw" and len(arguments) <= 1:
        return ChosenEncoder(_raw(description, arguments), None, None)
    if name == "topk" and 1 <= len(arguments) <= 2 and arguments[0].isdecimal():
        logits = arguments[1:] == ["logits"]
        if logits and description.label_kind is not LabelKind.LOGITS:
            raise InvalidRequestError(f"{text} keeps logits, but these labels are probabilities")
        if logits:
            arguments[1] = Recovery.RENORMALISE
        try:
            recovery = Recovery(arguments[1]) if len(arguments) == 2 else Recovery.SPREAD
        except ValueError:
            raise InvalidRequestError(
                f"{arguments[1]!r} is no recovery; use {' or '.join(Recovery)}"
            ) from None
        encoder = TopKEncoder(
            description.num_classes,
            k=int(arguments[0]),
            label_kind=description.label_kind,
            temperature=None if logits else description.temperature or temperature,
            recovery=recovery,
            device=choose_device(device),
        )
        return ChosenEncoder(encoder, None, None)
    directory = Path(text)
    if not (directory / CODEC_FILE).is_file():
        raise InvalidRequestError(
            f"{text!r} is no directory from `labelcast fit`, nor raw:fp16 or topk:K"
        )
    files = read_fitted_files(directory, device=device)
    return ChosenEncoder(files.encoder, files.artifact, files.report)


def _raw(description: Description, arguments: list[str]) -> RawEncoder:
    try:
        precision = Precision(arguments[0]) if arguments else Precision.FP16
    except ValueError:
        raise InvalidRequestError(f"{arguments[0]!r} is no precision; use fp16 or fp32") from None
    probabilities = description.label_kind is LabelKind.PROBABILITIES
    at = description.temperature
    ends = TemperatureRange(at, at) if probabilities and at is not None else None
    header = CodecHeader(description.num_classes, description.label_kind, ends)
    return RawEncoder(RawCodec(header, precision))
