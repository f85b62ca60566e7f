"""`CodedLabels`: the labels of one batch while they are a few bytes each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from labelcast.errors import InvalidRequestError
from labelcast.torch.decoding import Bytes, TorchDecoder


@dataclass(frozen=True, eq=False, slots=True)
class CodedLabels:
    """Labels of one batch as packed rows, and the decoder that is theirs.

    Make one with `of`, or let `label_set.code_reader()` make it.

    Attributes:
        decoder: decoder of the label set that the rows are from, as `load_decoder` has proven it.
        rows: uint8, shape (N, row_stride), on the decoder's device.
        context: uint8, shape (N, context_stride), there too; None if the codec takes none.
    """

    decoder: TorchDecoder
    rows: Tensor
    context: Tensor | None

    @classmethod
    def of(cls, decoder: TorchDecoder, rows: Bytes, context: Bytes | None = None) -> Self:
        """Copy rows to the device of their decoder.

        Args:
            decoder: from `load_decoder`.
            rows: uint8, shape (N, row_stride), on any device.
            context: uint8, shape (N, context_stride); None if the codec takes none.

        Raises:
            CodecFormatError: wrong shape or dtype, or a context that is missing or not needed.
        """
        rows, extra = decoder.place(rows, context)
        # Copied: whoever fills the same buffer with the next batch before the backward pass would
        # have this one's gradients made of other labels. Rows are short.
        return cls(decoder, rows.clone(), None if extra is None else extra.clone())

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One batch after another.

        Raises:
            InvalidRequestError: there are none, or they are of several decoders.
        """
        if len({id(part.decoder) for part in parts}) != 1:
            raise InvalidRequestError("join coded labels of one reader, and at least one batch")
        contexts = [part.context for part in parts if part.context is not None]
        return cls(
            parts[0].decoder,
            torch.cat([part.rows for part in parts]),
            torch.cat(contexts) if contexts else None,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<CodedLabels: {len(self)} rows of {self.decoder.name}, {self.decoder.device}>"

    def decode(self, part: slice | Tensor = slice(None)) -> Tensor:
        """Decode all rows or some: float32, shape (n, C), newly allocated, without gradient.

        Args:
            part: which rows: a slice, or an int64 tensor of their places.

        Raises:
            Those of `TorchDecoder.decode`.
        """
        return self.decoder.decode(
            self.rows[part], None if self.context is None else self.context[part]
        )
