"""The encoding half, kept beside the artifact, so that later views use the same codec.

A safetensors file of the encoder's weights. Its metadata has one key, `labelcast.encoder`: JSON of
an `EncoderSpec`. Only producers read it; students never need it.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from labelcast.codec import LabelKind, VqaeCodec, read_artifact
from labelcast.errors import CodecFormatError, DigestMismatchError
from labelcast_producers.neural.autoencoder import AutoencoderShape, VectorQuantizedAutoencoder
from labelcast_producers.neural.encoding import Search, VqaeEncoder

METADATA_KEY = "labelcast.encoder"


class EncoderSpec(BaseModel):
    """What the weights do not say.

    Attributes:
        format: version of this file.
        codec_digest: sha256 (hex) of the artifact that decodes what this encoder writes.
        label_kind: kind of labels that it encodes.
        temperature: softmax temperature of the fit.
        encoder_hidden: widths of the encoder's hidden layers.
        search: how codes are chosen.
        fit_config: the whole configuration of the fit, for the record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    codec_digest: str
    label_kind: LabelKind
    temperature: float = Field(gt=0, allow_inf_nan=False)
    encoder_hidden: tuple[int, ...]
    search: Search
    fit_config: dict[str, Any]


def write_encoder(encoder: VqaeEncoder, artifact: bytes, *, fit_config: dict[str, Any]) -> bytes:
    """Serialise the encoding half of a codec.

    Args:
        encoder: the fitted encoder.
        artifact: codec that it writes for.
        fit_config: JSON values, kept for the record.
    """
    spec = EncoderSpec(
        codec_digest=codec_digest(artifact),
        label_kind=encoder.label_kind,
        temperature=encoder.temperature,
        encoder_hidden=encoder.model.shape.encoder_hidden,
        search=encoder.search,
        fit_config=fit_config,
    )
    tensors = {name: value.cpu().contiguous() for name, value in _weights(encoder.model).items()}
    return safetensors.torch.save(tensors, {METADATA_KEY: spec.model_dump_json()})


def codec_digest(artifact: bytes) -> str:
    """sha256 (hex) of an artifact, by which the files of a fit refer to it."""
    return hashlib.sha256(artifact).hexdigest()


def load_encoder(path: Path, artifact: bytes, device: torch.device) -> VqaeEncoder:
    """Load an encoder and the codec that it writes for.

    Args:
        path: file with the output of `write_encoder`.
        artifact: codec artifact.
        device: device to encode on.

    Raises:
        CodecFormatError: one of them is malformed, or the file cannot be read.
        DigestMismatchError: the encoder belongs to another codec, whose codes mean other labels.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            spec = EncoderSpec.model_validate_json((file.metadata() or {})[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, KeyError, safetensors.SafetensorError, ValidationError) as error:
        raise CodecFormatError(f"{path} is no labelcast encoder: {_reason(error)}") from None
    if spec.codec_digest != codec_digest(artifact):
        raise DigestMismatchError(
            f"{path} encodes for codec sha256:{spec.codec_digest}, not for the one given"
        )
    codec = read_artifact(artifact)
    if not isinstance(codec, VqaeCodec):
        raise CodecFormatError(f"{codec.name} needs no encoder file")
    shape = AutoencoderShape(
        codec.header.num_classes, codec.shape, spec.encoder_hidden, spec.temperature
    )
    model = VectorQuantizedAutoencoder(shape).requires_grad_(False)
    wanted = {name: value.shape for name, value in _weights(model).items()}
    if wanted != {name: value.shape for name, value in tensors.items()}:
        raise CodecFormatError(f"the tensors of {path} do not fit its codec")
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise CodecFormatError(f"{path} holds NaN or infinity")
    model.load_state_dict(tensors, strict=False)
    model.quantizer.codebooks.copy_(torch.from_numpy(codec.codebooks))
    if model.classes is not None and codec.classes is not None:
        model.classes.copy_(torch.from_numpy(codec.classes))
    for layer, (weight, bias) in zip(model.decoder.linears, codec.layers, strict=True):
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return VqaeEncoder(
        model.to(device),
        codec,
        label_kind=spec.label_kind,
        temperature=spec.temperature,
        search=spec.search,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        return f"{field}: {first['msg']}" if field else first["msg"]
    if isinstance(error, KeyError):
        return f"it has no metadata {METADATA_KEY}"
    return str(error).splitlines()[0]


def _weights(model: VectorQuantizedAutoencoder) -> dict[str, torch.Tensor]:
    return {
        name: value for name, value in model.state_dict().items() if name.startswith("encoder.")
    }
