"""Checks that a device still decodes right, with a tiny codec whose labels are known exactly."""

import numpy as np
import torch

from labelcast.codec import (
    CodecHeader,
    LabelKind,
    Precision,
    TemperatureRange,
    VqaeCodec,
    VqaeShape,
    pack_codes,
)
from labelcast.representation import Representation
from labelcast.torch.decoding import TorchDecoder

_CLASSES = 4


class DeviceProbe:
    """A few rows with their known labels; all numbers are small integers, so nothing is rounded.

    Args:
        device: torch device.

    Attributes:
        decoder: decoder of the tiny codec, on the device.
        rows: packed rows.
        representation: form to decode to.
        labels: expected labels.
    """

    representation = Representation.logits(Precision.FP32)

    def __init__(self, device: torch.device) -> None:
        shape = VqaeShape(codes=2, codebook_size=4, codeword_width=2, hidden=(3,))
        layers = [
            (np.arange(outputs * inputs).reshape(outputs, inputs) % 5 - 2, np.arange(outputs))
            for inputs, outputs in shape.layer_widths(_CLASSES)
        ]
        header = CodecHeader(_CLASSES, LabelKind.LOGITS, TemperatureRange(1.0, 1.0))
        codec = VqaeCodec(
            header,
            shape,
            np.arange(2 * 4 * 2).reshape(2, 4, 2).astype(np.float16),
            [(weight.astype(np.float16), bias.astype(np.float16)) for weight, bias in layers],
        )
        codes = np.array([[0, 3], [1, 2], [2, 1], [3, 0]], dtype=np.uint32)
        self.rows = pack_codes(codes, bits=shape.bits)
        self.labels = codec.decode(self.rows).astype("<f4").tobytes()
        self.decoder = TorchDecoder.from_codec(codec, device)
