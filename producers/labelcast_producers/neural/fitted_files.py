"""The files of a finished fit, read together: none is of use without the others.

CODEC_FILE     the artifact, which decodes
ENCODER_FILE   the encoding half (see `encoder_file`)
REPORT_FILE    how good the codec is; names it by its digest
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelcast.errors import CodecFormatError, DigestMismatchError
from labelcast.torch.device import choose_device
from labelcast_producers.neural.encoder_file import codec_digest, load_encoder
from labelcast_producers.neural.encoding import VqaeEncoder

CODEC_FILE = "codec.safetensors"
ENCODER_FILE = "encoder.safetensors"
REPORT_FILE = "fit-report.json"


@dataclass(frozen=True, eq=False, slots=True)
class FittedFiles:
    """The contents of a finished fit's files.

    Attributes:
        artifact: bytes of the codec.
        encoder: encoder, ready to use, with its codec.
        report: a JSON object whose `codec_digest` is that of `artifact`.
    """

    artifact: bytes
    encoder: VqaeEncoder
    report: dict[str, Any]


def read_fitted_files(directory: Path, *, device: str) -> FittedFiles:
    """Read the files of a fit and check that they belong together.

    Args:
        directory: output directory of `fit`.
        device: torch device or "auto".

    Raises:
        CodecFormatError: a file is missing or malformed.
        DigestMismatchError: the files belong to different fits.
        InvalidRequestError: there is no such device.
    """
    artifact, report_bytes = (_read(directory, name) for name in (CODEC_FILE, REPORT_FILE))
    try:
        report = json.loads(report_bytes)
        digest = report["codec_digest"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CodecFormatError(f"{directory / REPORT_FILE} is no fit report") from None
    if digest != codec_digest(artifact):
        raise DigestMismatchError(f"codec and report in {directory} are of different fits")
    _expect(directory, ENCODER_FILE)
    encoder = load_encoder(directory / ENCODER_FILE, artifact, choose_device(device))
    return FittedFiles(artifact, encoder, report)


def _read(directory: Path, name: str) -> bytes:
    _expect(directory, name)
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise CodecFormatError(f"cannot read {directory / name}: {error.strerror}") from None


def _expect(directory: Path, name: str) -> None:
    if not (directory / name).is_file():
        raise CodecFormatError(
            f"{directory} holds no finished fit: there is no {name} (a fit is {CODEC_FILE},"
            f" {ENCODER_FILE} and {REPORT_FILE} together)"
        )
