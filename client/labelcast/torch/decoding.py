"""Codecs on any torch device, equal to the numpy decoders within the fp32 tolerance.

Rows travel to the device packed, so a VQAE label is a few bytes on the bus; unpacking, checking and
decoding happen there.
"""

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from labelcast.codec import (
    Codec,
    LabelKind,
    Precision,
    RawCodec,
    Recovery,
    TopKCodec,
    VqaeCodec,
    check_golden,
    golden_rows,
    read_artifact,
)
from labelcast.codec.latent import Head, LatentCodec
from labelcast.codec.sparse import SparseCodec
from labelcast.codec.topk import MAX_TOTAL, MISSING_LOGIT
from labelcast.errors import CodecFormatError, CodeRangeError, LabelValueError
from labelcast.torch.context_rows import context_values, unpack_context
from labelcast.torch.precision import exact_fp32

# Bounds what one block holds besides the labels themselves (activations, unpacked codes).
_BLOCK_BYTES = 2**26
_MAX_BLOCK_ROWS = 2**16

Bytes = torch.Tensor | NDArray[np.uint8]


def load_decoder(
    content: bytes, device: torch.device | str, *, head: Head | None = None
) -> "TorchDecoder":
    """Read an artifact, build its decoder on `device` and prove it on the golden rows.

    Args:
        content: artifact.
        device: device that decodes.
        head: teacher's head, for rows that hold its states; others need none.

    Raises:
        CodecFormatError: the artifact is malformed, or the head does not fit it.
        GoldenRowsError: numpy or the device does not reproduce the golden rows.
    """
    codec = read_artifact(content)
    if head is not None and isinstance(codec, LatentCodec):
        codec = codec.with_head(head)
    decoder = TorchDecoder.from_codec(codec, device)
    decoder.prove(content)
    return decoder


class TorchDecoder(ABC):
    """Decodes packed rows on one device; safe to call from several threads.

    Attributes:
        header: kind, classes and temperatures of the labels.
        row_stride: bytes per row.
        context_stride: bytes of the context row of each; 0 for none.
        device: device that decodes rows and holds labels.
    """

    _by_codec: ClassVar[dict[type[Codec], type["TorchDecoder"]]] = {}

    def __init__(self, codec: Codec, device: torch.device) -> None:
        self.name = codec.name
        self.header = codec.header
        self.row_stride = codec.row_stride
        self.context_stride = codec.context_stride
        self.device = device

    def __init_subclass__(cls, *, codec: type[Codec], **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        TorchDecoder._by_codec[codec] = cls

    @staticmethod
    def from_codec(codec: Codec, device: torch.device | str) -> "TorchDecoder":
        """Build the decoder of `codec`; if you have its artifact, call `prove` next.

        Raises:
            CodecFormatError: this codec has no torch decoder.
        """
        if isinstance(codec, LatentCodec | SparseCodec):
            # They register themselves; whoever trains on images does without them.
            import_module("labelcast.torch.tokens.decoders")
        for known in type(codec).__mro__:
            if known in TorchDecoder._by_codec:
                return TorchDecoder._by_codec[known](codec, torch.device(device))
        raise CodecFormatError(f"codec {codec.name!r} has no torch decoder")

    def __call__(self, rows: Bytes, context: Bytes | None = None) -> torch.Tensor:
        """See `decode`."""
        return self.decode(rows, context)

    def decode(self, rows: Bytes, context: Bytes | None = None) -> torch.Tensor:
        """Decode `rows`.

        Args:
            rows: uint8, shape (N, row_stride), on any device; read-only arrays are welcome.
            context: uint8, shape (N, context_stride); None if the codec takes none.

        Returns:
            float32, shape (N, C), in row order, newly allocated on the device, without gradient.

        Raises:
            CodecFormatError: wrong shape or dtype, padding bits set, a class named twice, or a
                context that is missing, not needed, or impossible under any policy.
            CodeRangeError: a code or class ID is out of range.
            LabelValueError: stored values are not finite, or no distribution.
        """
        rows, extra = self.place(rows, context)
        num_classes = self.header.num_classes
        labels = torch.empty((len(rows), num_classes), dtype=torch.float32, device=self.device)
        block = max(1, min(_MAX_BLOCK_ROWS, _BLOCK_BYTES // self._work_bytes()))
        with exact_fp32(self.device):
            for start in range(0, len(rows), block):
                part = slice(start, start + block)
                about = None if extra is None else extra[part]
                self._decode_block(rows[part], about, labels[part])
        return labels

    def place(
        self, rows: Bytes, context: Bytes | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Check the shapes of rows and context, and bring both to the device as they are.

        Args:
            rows: uint8, shape (N, row_stride), on any device.
            context: uint8, shape (N, context_stride); None if the codec takes none.

        Raises:
            CodecFormatError: wrong shape or dtype, or a context that is missing or not needed.
        """
        rows = self._on_device(rows, self.row_stride)
        if (context is None) != (self.context_stride == 0):
            raise CodecFormatError(
                f"{self.name} context rows are {'missing' if context is None else 'not wanted'}"
            )
        extra = None if context is None else self._on_device(context, self.context_stride)
        if extra is not None and len(extra) != len(rows):
            raise CodecFormatError(f"{len(extra)} context rows for {len(rows)} rows")
        return rows, extra

    def prove(self, content: bytes) -> None:
        """Reproduce the golden rows of the artifact that the codec was read from.

        Raises:
            GoldenRowsError: this device computes differently; do not train with it.
        """
        rows, context, labels = golden_rows(content)
        decoded = self.decode(rows, context).cpu().numpy()
        check_golden(decoded, labels, f"{self.name} {self.device}")

    @abstractmethod
    def _work_bytes(self) -> int:
        """Temporary memory of one row."""

    @abstractmethod
    def _decode_block(
        self, rows: torch.Tensor, context: torch.Tensor | None, labels: torch.Tensor
    ) -> None:
        """Check `rows` and write their labels into `labels`."""

    def _on_device(self, rows: Bytes, stride: int) -> torch.Tensor:
        if rows.ndim != 2 or rows.shape[1] != stride:
            raise CodecFormatError(
                f"{self.name} rows must have shape (N, {stride}), got {tuple(rows.shape)}"
            )
        if rows.dtype not in (torch.uint8, np.uint8):
            raise CodecFormatError(f"{self.name} rows must be uint8, got {rows.dtype}")
        if isinstance(rows, np.ndarray):
            # torch warns of read-only memory, and a gRPC payload is always read-only.
            rows = torch.from_numpy(np.require(rows, requirements=("C", "W")))
        return rows.to(self.device, non_blocking=True)


class _RawDecoder(TorchDecoder, codec=RawCodec):
    def __init__(self, codec: RawCodec, device: torch.device) -> None:
        super().__init__(codec, device)
        self._dtype = torch.float16 if codec.precision is Precision.FP16 else torch.float32

    def _work_bytes(self) -> int:
        return 2 * self.row_stride

    def _decode_block(
        self, rows: torch.Tensor, context: torch.Tensor | None, labels: torch.Tensor
    ) -> None:
        labels.copy_(floats(rows, self._dtype))
        if not torch.isfinite(labels).all():
            raise LabelValueError("raw rows hold NaN or infinity; relabel or drop those views")


class _TopKDecoder(TorchDecoder, codec=TopKCodec):
    def __init__(self, codec: TopKCodec, device: torch.device) -> None:
        super().__init__(codec, device)
        self._k = codec.k
        self._id_bytes = codec.id_dtype.itemsize
        others = self.header.num_classes - codec.k
        self._others = others if codec.recovery is Recovery.SPREAD else 0
        self._renormalised = codec.recovery is not Recovery.ZERO
        self._logits = codec.header.label_kind is LabelKind.LOGITS

    def _work_bytes(self) -> int:
        return 48 * self._k

    def _decode_block(
        self, rows: torch.Tensor, context: torch.Tensor | None, labels: torch.Tensor
    ) -> None:
        width = self._k * self._id_bytes
        ids = _little_endian(rows[:, :width].reshape(len(rows), self._k, self._id_bytes))
        values = floats(rows[:, width:], torch.float16).float()
        total = values.sum(dim=1, keepdim=True)
        self._check(ids, values, total)
        if self._logits:
            labels.fill_(MISSING_LOGIT)
        elif self._others:
            labels.copy_(((1 - total).clamp(min=0) / self._others).expand_as(labels))
        else:
            labels.zero_()
            values = values / total if self._renormalised else values
        labels.scatter_(1, ids, values)

    def _check(self, ids: torch.Tensor, values: torch.Tensor, total: torch.Tensor) -> None:
        in_order = ids.sort(dim=1).values
        if self._logits:
            # Written so that NaN fails.
            valid_values = (values.abs() < -MISSING_LOGIT).all()
        else:
            finite = torch.isfinite(values) & (values >= 0)
            valid_values = finite.all() & ((total > 0) & (total <= MAX_TOTAL)).all()
        # One transfer for all findings: each would stall the device by itself.
        too_large, twice, valid = torch.stack(
            [
                (in_order[:, -1] >= self.header.num_classes).any(),
                (in_order[:, 1:] == in_order[:, :-1]).any(),
                valid_values,
            ]
        ).tolist()
        if too_large:
            raise CodeRangeError(f"a class ID is outside the {self.header.num_classes} classes")
        if twice:
            raise CodecFormatError("a row names one class twice")
        if not valid:
            raise LabelValueError(
                "top-k logits are not finite, or beyond ±32768"
                if self._logits
                else "top-k probabilities are not finite, negative, or sum to above 1"
            )


class _VqaeDecoder(TorchDecoder, codec=VqaeCodec):
    def __init__(self, codec: VqaeCodec, device: torch.device) -> None:
        super().__init__(codec, device)
        self._shape = codec.shape
        M, K = codec.shape.codes, codec.shape.codebook_size
        self._codewords = torch.tensor(codec.codebooks, device=device).flatten(0, 1)
        self._first = torch.arange(M, device=device) * K
        self._layers = [
            (torch.tensor(weight.T.copy(), device=device), torch.tensor(bias, device=device))
            for weight, bias in codec.layers
        ]
        self._classes = (
            None if codec.classes is None else torch.tensor(codec.classes, device=device)
        )

    def _work_bytes(self) -> int:
        widest = max(inputs for inputs, _ in self._shape.layer_widths(self.header.num_classes))
        return 4 * 4 * widest + 32 * self._shape.codes

    def _decode_block(
        self, rows: torch.Tensor, context: torch.Tensor | None, labels: torch.Tensor
    ) -> None:
        codes = unpack_codes(rows, bits=self._shape.bits, count=self._shape.codes)
        # A full codebook has no code outside it, and checking would stall the device.
        full = self._shape.codebook_size == 1 << self._shape.bits
        if not full and bool((codes >= self._shape.codebook_size).any()):
            raise CodeRangeError(
                f"a code is outside the codebook of {self._shape.codebook_size} codewords"
            )
        values = F.embedding(codes + self._first, self._codewords).flatten(1)
        if context is not None and self._shape.context is not None and self._classes is not None:
            known = unpack_context(context, self.header.num_classes)
            values = torch.cat([values, context_values(*known, self._classes)], dim=1)
        for weight, bias in self._layers[:-1]:
            values = torch.addmm(bias, values, weight).relu_()
        weight, bias = self._layers[-1]
        torch.addmm(bias, values, weight, out=labels)


def unpack_codes(packed: torch.Tensor, *, bits: int, count: int) -> torch.Tensor:
    """Recover integers that `labelcast.codec.pack_codes` wrote, on the device of `packed`.

    Args:
        packed: uint8, shape (N, ceil(count * bits / 8)), little-endian bit order.
        bits: width of one code, 1 to 16.
        count: codes per row (M).

    Returns:
        int64, shape (N, M), newly allocated.

    Raises:
        CodecFormatError: padding bits that are not zero.
    """
    if bits == 8:
        return packed.long()
    if bits == 16:
        return _little_endian(packed.reshape(len(packed), count, 2))
    padding = packed.shape[1] * 8 - bits * count
    if padding and bool((packed[:, -1] >> (8 - padding)).any()):
        raise CodecFormatError("padding bits after the last code are not zero")
    first = torch.arange(count, device=packed.device) * bits
    # A code starts at any bit and has up to 16: three bytes hold all of it.
    window = F.pad(packed, (0, 2))
    offsets = first[:, None] // 8 + torch.arange(3, device=packed.device)
    return (_little_endian(window[:, offsets]) >> (first % 8)) & ((1 << bits) - 1)


def _little_endian(digits: torch.Tensor) -> torch.Tensor:
    """Integers of bytes along the last axis: uint8 (..., n) to int64 (...)."""
    total = digits[..., 0].long()
    for place in range(1, digits.shape[-1]):
        total |= digits[..., place].long() << (8 * place)
    return total


def floats(rows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Reinterpret bytes; copied first if they are not aligned to the value's size.

    Args:
        rows: uint8, shape (N, a multiple of the value's size).
        dtype: type of the values.
    """
    rows = rows.contiguous()
    if rows.data_ptr() % dtype.itemsize or rows.storage_offset() % dtype.itemsize:
        rows = rows.clone()
    return rows.view(dtype)
