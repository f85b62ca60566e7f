"""Codec ⇄ artifact: one safetensors file that carries its own proof.

The metadata of the file has one key, `labelcast.codec`: canonical JSON of the codec's name, header
and parameters. Besides the codec's tensors it holds *golden rows*: packed rows and the labels that
the numpy reference decoder gave for them. Every load decodes them again, so that a decoder which
strays (another platform, a damaged weight, a changed library) is refused before it labels anything.
See FORMAT.md.
"""

import json
import struct
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from labelcast.codec.base import (
    TOLERANCES,
    Codec,
    CodecHeader,
    LabelKind,
    Precision,
    TemperatureRange,
    TensorSpecs,
    choice,
    integer,
    only_keys,
)
from labelcast.codec.latent import HiddenCodec
from labelcast.codec.raw import RawCodec
from labelcast.codec.sparse import PackedTopKCodec, SampledCodec
from labelcast.codec.sparse.distillkit import DistillKitCodec
from labelcast.codec.topk import TopKCodec
from labelcast.codec.vqae import VqaeCodec
from labelcast.errors import CodecFormatError, GoldenRowsError
from labelcast.views import Rows

METADATA_KEY = "labelcast.codec"
FORMAT_VERSION = 1
MAX_HEADER_BYTES = 2**20
MAX_ARTIFACT_BYTES = 2**31
MAX_GOLDEN_ROWS = 64

_CLASSES: list[type[Codec]] = [
    RawCodec,
    TopKCodec,
    VqaeCodec,
    HiddenCodec,
    PackedTopKCodec,
    SampledCodec,
    DistillKitCodec,
]
CODECS = {codec.name: codec for codec in _CLASSES}


def write_artifact(codec: Codec, golden_rows: Rows, golden_context: Rows | None = None) -> bytes:
    """Serialise a codec.

    Args:
        codec: codec to write.
        golden_rows: uint8, shape (G, row_stride), 1 to 64 real rows of this codec.
        golden_context: uint8, shape (G, context_stride), if the codec is conditioned.

    Returns:
        The artifact; the same bytes for the same codec and rows.

    Raises:
        CodecFormatError: too many or too few golden rows, or rows the codec does not accept.
    """
    if not 1 <= len(golden_rows) <= MAX_GOLDEN_ROWS:
        raise CodecFormatError(f"an artifact needs 1 to {MAX_GOLDEN_ROWS} golden rows")
    header = codec.header
    ends = header.temperatures
    spec = {
        "format": FORMAT_VERSION,
        "codec": codec.name,
        "num_classes": header.num_classes,
        "label_kind": str(header.label_kind),
        "temperatures": None if ends is None else [float(ends.low), float(ends.high)],
        "parameters": codec.config(),
    }
    tensors = codec.tensors() | {
        "golden.rows": np.ascontiguousarray(golden_rows),
        "golden.labels": codec.golden_values(golden_rows, golden_context),
    }
    if golden_context is not None:
        tensors["golden.context"] = np.ascontiguousarray(golden_context)
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return safetensors.numpy.save(tensors, {METADATA_KEY: text})


def read_artifact(content: bytes) -> Codec:
    """Rebuild a codec and prove it on its golden rows.

    Raises:
        CodecFormatError: truncated, malformed, of an unknown codec or version, or its sizes
            contradict each other; nothing large is allocated before that is known.
        GoldenRowsError: this decoder does not reproduce the golden rows.
    """
    spec, layout = _read_header(content)
    codec_class, header, parameters = _read_spec(spec)
    expected = dict(codec_class.tensor_specs(header, parameters))
    golden_count = _golden_count(layout)
    for name in ("golden.rows", "golden.context"):
        if name in layout:
            expected[name] = ("U8", (golden_count, *layout[name][1][1:]))
    expected["golden.labels"] = (
        "F32",
        (golden_count, codec_class.golden_columns(header, parameters)),
    )
    if layout != expected:
        wrong = sorted(set(layout.items()) ^ set(expected.items()))
        raise CodecFormatError(f"the artifact's tensors do not fit its parameters: {wrong[:2]}")
    try:
        tensors = safetensors.numpy.load(content)
    except safetensors.SafetensorError as error:
        raise CodecFormatError(f"the artifact is truncated or malformed: {error}") from None
    _check_finite(tensors)
    codec = codec_class.build(header, parameters, tensors)
    # Damaged weights may overflow; the comparison says so better than a warning.
    with np.errstate(over="ignore", invalid="ignore"):
        decoded = codec.golden_values(tensors["golden.rows"], tensors.get("golden.context"))
        check_golden(decoded, tensors["golden.labels"], codec.name)
    return codec


def golden_rows(content: bytes) -> tuple[Rows, Rows | None, NDArray[np.float32]]:
    """Golden rows of an artifact that `read_artifact` has accepted, with context and labels.

    Decoders other than numpy's prove themselves on these with `check_golden`.
    """
    tensors = safetensors.numpy.load(content)
    return tensors["golden.rows"], tensors.get("golden.context"), tensors["golden.labels"]


def check_golden(actual: NDArray[np.float32], expected: NDArray[np.float32], decoder: str) -> None:
    """Refuse a decoder that strays from the golden rows.

    Raises:
        GoldenRowsError: a value is outside the fp32 tolerance, which FORMAT.md defines.
    """
    if not TOLERANCES[Precision.FP32].accepts(actual, expected):
        worst = float(np.nanmax(np.abs(actual - expected), initial=0))
        raise GoldenRowsError(
            f"the {decoder} decoder strays from the artifact's golden rows by {worst:.3g};"
            " the artifact is damaged or this machine computes differently: do not train with it"
        )


def _read_header(content: bytes) -> tuple[dict[str, Any], dict[str, tuple[str, tuple[int, ...]]]]:
    if len(content) > MAX_ARTIFACT_BYTES:
        raise CodecFormatError(f"an artifact has at most {MAX_ARTIFACT_BYTES} bytes")
    if len(content) < 8:
        raise CodecFormatError("the artifact is truncated: no header")
    (size,) = struct.unpack_from("<Q", content)
    if size > min(MAX_HEADER_BYTES, len(content) - 8):
        raise CodecFormatError("the artifact is truncated or no safetensors file")
    try:
        header = json.loads(content[8 : 8 + size])
        spec = json.loads(header.pop("__metadata__")[METADATA_KEY])
        layout = {
            name: (str(entry["dtype"]), tuple(int(side) for side in entry["shape"]))
            for name, entry in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise CodecFormatError("the artifact's header is not that of a labelcast codec") from None
    if not isinstance(spec, dict):
        raise CodecFormatError("the artifact's header is not that of a labelcast codec")
    return spec, layout


def _read_spec(spec: dict[str, Any]) -> tuple[type[Codec], CodecHeader, dict[str, Any]]:
    only_keys(spec, "format", "codec", "num_classes", "label_kind", "temperatures", "parameters")
    if spec.get("format") != FORMAT_VERSION:
        raise CodecFormatError(
            f"artifact format {spec.get('format')!r} is unknown;"
            f" this labelcast reads {FORMAT_VERSION}"
        )
    name = spec.get("codec")
    codec_class = CODECS.get(name) if isinstance(name, str) else None
    if codec_class is None:
        raise CodecFormatError(f"codec {name!r} is unknown; this labelcast has {sorted(CODECS)}")
    parameters = spec.get("parameters")
    if not isinstance(parameters, dict):
        raise CodecFormatError("the artifact has no codec parameters")
    header = CodecHeader(
        num_classes=integer(spec, "num_classes", 1, 2**20),
        label_kind=choice(spec, "label_kind", LabelKind),
        temperatures=_temperatures(spec.get("temperatures")),
    )
    return codec_class, header, parameters


def _temperatures(ends: object) -> TemperatureRange | None:
    if ends is None:
        return None
    if isinstance(ends, list) and len(ends) == 2 and all(type(end) is float for end in ends):
        return TemperatureRange(*ends)
    raise CodecFormatError(f"temperatures are {ends!r}, must be null or two floats")


def _golden_count(layout: TensorSpecs) -> int:
    rows = layout.get("golden.rows", ("", ()))[1]
    if len(rows) != 2 or not 1 <= rows[0] <= MAX_GOLDEN_ROWS:
        raise CodecFormatError(f"the artifact must have 1 to {MAX_GOLDEN_ROWS} golden rows")
    return rows[0]


def _check_finite(tensors: dict[str, NDArray[Any]]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise CodecFormatError(f"tensor {name} holds NaN or infinity")
