"""Decoders of rows that hold states or name a few tokens: to less than logits of a vocabulary.

Rows are unpacked by the numpy codec, which takes a few hundred bytes a token; what they hold goes
to the device, and everything over the vocabulary happens there.
"""

import torch
from torch import Tensor

from labelcast.codec import Codec, check_golden, golden_rows
from labelcast.codec.latent import LatentCodec
from labelcast.codec.sparse import SparseCodec
from labelcast.errors import CodecFormatError
from labelcast.torch.decoding import Bytes, TorchDecoder
from labelcast.torch.tokens.sparse_rows import SparseRows
from labelcast.torch.tokens.teacher_head import TeacherHead
from labelcast.views import Rows


class LatentDecoder(TorchDecoder, codec=LatentCodec):  # type: ignore[type-abstract]
    """Decodes rows to states, and with the teacher's head to logits.

    Args:
        codec: codec of the rows; with its head, if that is at hand.
        device: device of states and head.
    """

    def __init__(self, codec: Codec, device: torch.device) -> None:
        if not isinstance(codec, LatentCodec):
            raise CodecFormatError(f"codec {codec.name!r} does not keep states")
        super().__init__(codec, device)
        self._codec = codec
        self._head = None if codec.head is None else TeacherHead(codec.head, device)

    def require_head(self) -> TeacherHead:
        """The teacher's head.

        Raises:
            CodecFormatError: it is not at hand.
        """
        if self._head is None:
            # Raises, and says what to do.
            self._head = TeacherHead(self._codec.require_head(), self.device)
        return self._head

    def latents(self, rows: Bytes) -> Tensor:
        """States of rows: float32, shape (N, d), newly allocated on the device, without gradient.

        Args:
            rows: uint8, shape (N, row_stride), on any device.

        Raises:
            Those of `decode`.
        """
        return torch.from_numpy(self._codec.latents(_packed(rows))).to(self.device)

    def prove(self, content: bytes) -> None:
        """See `TorchDecoder.prove`: the artifact has states of its golden rows."""
        rows, _, states = golden_rows(content)
        check_golden(self.latents(rows).cpu().numpy(), states, f"{self.name} {self.device}")

    def _work_bytes(self) -> int:
        return 4 * self.header.num_classes + 16 * self._codec.width

    def _decode_block(self, rows: Tensor, context: Tensor | None, labels: Tensor) -> None:
        self.require_head().logits(self.latents(rows), out=labels)


class SparseDecoder(TorchDecoder, codec=SparseCodec):  # type: ignore[type-abstract]
    """Decodes rows to the tokens that they name.

    Args:
        codec: codec of the rows.
        device: device of what they name.
    """

    def __init__(self, codec: Codec, device: torch.device) -> None:
        if not isinstance(codec, SparseCodec):
            raise CodecFormatError(f"codec {codec.name!r} does not name tokens")
        super().__init__(codec, device)
        self._codec = codec

    def sparse(self, rows: Bytes) -> SparseRows:
        """Tokens that rows name, on the device.

        Args:
            rows: uint8, shape (N, row_stride), on any device.

        Raises:
            Those of `decode`.
        """
        found = self._codec.sparse(_packed(rows))
        placed = (
            torch.from_numpy(each).to(self.device)
            for each in (found.ids, found.probabilities, found.rest)
        )
        return SparseRows.of(*placed, lumped=found.lumped)

    def prove(self, content: bytes) -> None:
        """See `TorchDecoder.prove`: the codec unpacks the golden rows, here too."""
        rows, context, named = golden_rows(content)
        check_golden(self._codec.golden_values(rows, context), named, self.name)

    def _work_bytes(self) -> int:
        return 4 * self.header.num_classes + 64 * self.row_stride

    def _decode_block(self, rows: Tensor, context: Tensor | None, labels: Tensor) -> None:
        labels.copy_(self.sparse(rows).dense(self.header.num_classes))


def _packed(rows: Bytes) -> Rows:
    return rows.cpu().numpy() if isinstance(rows, Tensor) else rows
