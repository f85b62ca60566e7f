"""`vqae`: M codewords from M codebooks, laid side by side and decoded by a small network.

After the VQAE paper (arXiv 2603.03808), whose k, d_c and d_h are K, D and H = M * D here. Only the
decoding half is in an artifact; fitting is in `labelcast_producers.fitting`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import (
    Codec,
    CodecHeader,
    LabelKind,
    Labels,
    Precision,
    TensorSpecs,
    choice,
    integer,
    only_keys,
)
from labelcast.codec.bitpack import bits_for, packed_bytes, unpack_codes
from labelcast.codec.context_shape import ContextShape
from labelcast.errors import CodecFormatError, CodeRangeError
from labelcast.views import Rows

MAX_CODES = 256
MAX_CODEBOOK = 2**16
MAX_WIDTH = 2**14
MAX_HIDDEN_LAYERS = 8

# Rows decoded at a time: bounds the hidden activations without slowing the matrix products.
_BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class VqaeShape:
    """Everything that fixes the tensors of a VQAE decoder.

    Attributes:
        codes: codes per label, M; 0 only with a context, from which the label is then decoded
            alone.
        codebook_size: codewords per codebook, K, 2 to 65,536.
        codeword_width: values per codeword, D.
        hidden: widths of the decoder's hidden layers, each followed by a ReLU.
        precision: precision of the stored tensors; decoding computes in fp32.
        context: what the decoder knows besides the codes; None for nothing.
    """

    codes: int
    codebook_size: int
    codeword_width: int
    hidden: tuple[int, ...]
    precision: Precision = Precision.FP16
    context: ContextShape | None = None

    @property
    def bits(self) -> int:
        """Bits of one code."""
        return bits_for(self.codebook_size)

    @property
    def row_stride(self) -> int:
        """Bytes per row."""
        return packed_bytes(self.bits, self.codes)

    def layer_widths(self, num_classes: int) -> list[tuple[int, int]]:
        """(inputs, outputs) of each linear layer."""
        context_width = 0 if self.context is None else self.context.width
        first = self.codes * self.codeword_width + context_width
        return list(pairwise([first, *self.hidden, num_classes]))

    def as_config(self) -> dict[str, Any]:
        """Parameters that `from_config` reads back."""
        config: dict[str, Any] = {
            "codes": self.codes,
            "codebook_size": self.codebook_size,
            "codeword_width": self.codeword_width,
            "hidden": list(self.hidden),
            "precision": str(self.precision),
        }
        return config if self.context is None else config | {"context": self.context.as_json()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Parse and check the parameters of an artifact.

        Raises:
            CodecFormatError: missing, unknown or out of bounds.
        """
        only_keys(
            config, "codes", "codebook_size", "codeword_width", "hidden", "precision", "context"
        )
        hidden = config.get("hidden")
        if (
            not isinstance(hidden, list)
            or len(hidden) > MAX_HIDDEN_LAYERS
            or not all(type(width) is int and 1 <= width <= MAX_WIDTH for width in hidden)
        ):
            raise CodecFormatError(
                f"codec parameter hidden is {hidden!r}, must list up to"
                f" {MAX_HIDDEN_LAYERS} widths of 1 to {MAX_WIDTH}"
            )
        context = ContextShape.from_json(config["context"]) if "context" in config else None
        codes = integer(config, "codes", 1 if context is None else 0, MAX_CODES)
        return cls(
            codes=codes,
            codebook_size=integer(config, "codebook_size", 2, MAX_CODEBOOK),
            codeword_width=integer(config, "codeword_width", 1, MAX_WIDTH // max(1, codes)),
            hidden=tuple(hidden),
            precision=choice(config, "precision", Precision),
            context=context,
        )


class VqaeCodec(Codec):
    """The numpy reference decoder.

    Args:
        header: label kind must be logits: a decoder fitted by KL gives log-probabilities up to a
            constant, which softmax does not see.
        shape: sizes of the decoder.
        codebooks: shape (M, K, D).
        layers: (weight of shape (out, in), bias of shape (out,)) of each linear layer.
        classes: class embeddings of the context, shape (C, class_width); None without a context.
    """

    name = "vqae"

    def __init__(
        self,
        header: CodecHeader,
        shape: VqaeShape,
        codebooks: NDArray[Any],
        layers: Sequence[tuple[NDArray[Any], NDArray[Any]]],
        classes: NDArray[Any] | None = None,
    ) -> None:
        super().__init__(header)
        if header.label_kind is not LabelKind.LOGITS or header.temperatures is None:
            raise CodecFormatError(
                "vqae gives logits near fitted temperatures; its header must say so"
            )
        self.shape = shape
        self._stored = {"codebooks": codebooks}
        for number, (weight, bias) in enumerate(layers):
            self._stored[f"decoder.{number}.weight"] = weight
            self._stored[f"decoder.{number}.bias"] = bias
        self.classes: NDArray[np.float32] | None = None
        if classes is not None:
            self._stored["context.classes"] = classes
            self.classes = classes.astype(np.float32)
        self.codebooks = codebooks.astype(np.float32)
        self.layers = [(w.astype(np.float32), b.astype(np.float32)) for w, b in layers]

    @property
    def row_stride(self) -> int:
        return self.shape.row_stride

    @property
    def context_stride(self) -> int:
        return 0 if self.shape.context is None else self.shape.context.row_stride

    def config(self) -> dict[str, Any]:
        return self.shape.as_config()

    def tensors(self) -> dict[str, NDArray[Any]]:
        return dict(self._stored)

    @classmethod
    def tensor_specs(cls, header: CodecHeader, config: Mapping[str, Any]) -> TensorSpecs:
        shape = VqaeShape.from_config(config)
        dtype = "F16" if shape.precision is Precision.FP16 else "F32"
        specs: dict[str, tuple[str, tuple[int, ...]]] = {
            "codebooks": (dtype, (shape.codes, shape.codebook_size, shape.codeword_width))
        }
        for number, (inputs, outputs) in enumerate(shape.layer_widths(header.num_classes)):
            specs[f"decoder.{number}.weight"] = (dtype, (outputs, inputs))
            specs[f"decoder.{number}.bias"] = (dtype, (outputs,))
        if shape.context is not None:
            specs["context.classes"] = (dtype, (header.num_classes, shape.context.class_width))
        return specs

    @classmethod
    def build(
        cls, header: CodecHeader, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        shape = VqaeShape.from_config(config)
        layers = [
            (tensors[f"decoder.{number}.weight"], tensors[f"decoder.{number}.bias"])
            for number in range(len(shape.hidden) + 1)
        ]
        return cls(header, shape, tensors["codebooks"], layers, tensors.get("context.classes"))

    def unpack(self, rows: Rows) -> NDArray[np.uint32]:
        """Codes of `rows`, checked: uint32, shape (N, M).

        Raises:
            CodecFormatError: wrong shape or padding.
            CodeRangeError: a code is not in its codebook.
        """
        self._check_shape(rows)
        codes = unpack_codes(rows, bits=self.shape.bits, count=self.shape.codes)
        if codes.size and codes.max() >= self.shape.codebook_size:
            raise CodeRangeError(
                f"code {codes.max()} is outside the codebook of"
                f" {self.shape.codebook_size} codewords"
            )
        return codes

    def check_rows(self, rows: Rows) -> None:
        self.unpack(rows)

    def decode(self, rows: Rows, context: Rows | None = None) -> Labels:
        codes = self.unpack(rows)
        self._check_context(rows, context)
        labels = np.empty((len(rows), self.header.num_classes), dtype=np.float32)
        books = np.arange(self.shape.codes)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            values = self.codebooks[books, codes[block]].reshape(len(codes[block]), -1)
            if context is not None:
                values = np.concatenate([values, self._context_values(context[block])], axis=1)
            for weight, bias in self.layers[:-1]:
                values = np.maximum(values @ weight.T + bias, 0)
            weight, bias = self.layers[-1]
            np.matmul(values, weight.T, out=labels[block])
            labels[block] += bias
        return labels

    def _context_values(self, context: Rows) -> NDArray[np.float32]:
        shape, classes = self.shape.context, self.classes
        if shape is None or classes is None:
            raise CodecFormatError("this vqae codec takes no context")
        return shape.values(shape.unpack(context, self.header.num_classes), classes)
