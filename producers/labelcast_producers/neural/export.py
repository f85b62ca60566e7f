"""Fitted autoencoder → artifact.

Stored tensors are fp16. They are rounded in the autoencoder *before* anything is encoded, so that
every code is chosen for the codebooks that decoders will hold.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from labelcast.codec import (
    CodecHeader,
    LabelKind,
    Rows,
    TemperatureRange,
    VqaeCodec,
    read_artifact,
    write_artifact,
)
from labelcast.codec.artifact import MAX_GOLDEN_ROWS
from labelcast.errors import LabelValueError
from labelcast.torch.decoding import load_decoder
from labelcast_producers.neural.autoencoder import VectorQuantizedAutoencoder

# Golden labels are dense, and every client downloads them.
_GOLDEN_BYTES = 2**16
_MIN_GOLDEN_ROWS = 4


@torch.no_grad()
def round_to_stored(model: VectorQuantizedAutoencoder, *, temperature: float) -> None:
    """Round codebooks and decoder, in place, to what an artifact stores.

    Args:
        model: fitted model; its decoder gives logits divided by `temperature`, afterwards logits.
        temperature: softmax temperature of the fit.

    Raises:
        LabelValueError: a value overflows the stored precision.
    """
    dtype = torch.from_numpy(np.empty(0, model.shape.vqae.precision.dtype)).dtype
    last = model.decoder.linears[-1]
    last.weight.mul_(temperature)
    last.bias.mul_(temperature)
    embeddings = [] if model.classes is None else [model.classes]
    for tensor in (model.quantizer.codebooks, *embeddings, *model.decoder.parameters()):
        tensor.copy_(tensor.to(dtype))
        if not torch.isfinite(tensor).all():
            raise LabelValueError(
                f"the decoder overflows {model.shape.vqae.precision}; set precision to fp32, or"
                " lower learning_rate or temperature"
            )


def export_codec(model: VectorQuantizedAutoencoder, temperatures: TemperatureRange) -> VqaeCodec:
    """The decoding half of a model that `round_to_stored` has rounded.

    Args:
        model: rounded autoencoder.
        temperatures: temperatures at which its labels are valid.

    Returns:
        The codec, sharing no memory with `model`.
    """
    shape = model.shape
    dtype = shape.vqae.precision.dtype

    def stored(tensor: torch.Tensor) -> NDArray[np.generic]:
        return tensor.detach().cpu().numpy().astype(dtype)

    return VqaeCodec(
        CodecHeader(shape.num_classes, LabelKind.LOGITS, temperatures),
        shape.vqae,
        stored(model.quantizer.codebooks),
        [(stored(layer.weight), stored(layer.bias)) for layer in model.decoder.linears],
        None if model.classes is None else stored(model.classes),
    )


def build_artifact(
    codec: VqaeCodec, rows: Rows, context: Rows | None, device: torch.device
) -> bytes:
    """Write and prove an artifact.

    Args:
        codec: codec to write.
        rows: uint8, shape (n, row_stride), n at least 1: encoded real labels, of which 4 to 64
            evenly spaced ones become the golden rows; larger labels, fewer rows.
        context: their context rows, uint8, shape (n, context_stride); None if there are none.
        device: device on which the torch decoder is proven, besides numpy on the CPU.

    Returns:
        The artifact, read back and decoded by numpy and by torch.

    Raises:
        GoldenRowsError: the two decoders disagree.
    """
    wanted = _GOLDEN_BYTES // (4 * codec.header.num_classes)
    count = max(_MIN_GOLDEN_ROWS, min(MAX_GOLDEN_ROWS, wanted))
    picked = np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64))
    artifact = write_artifact(codec, rows[picked], None if context is None else context[picked])
    read_artifact(artifact)
    load_decoder(artifact, device)
    return artifact
