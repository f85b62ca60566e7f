"""Decoders of rows that hold states or name a few tokens: to less than logits of a vocabulary.

Rows of `hidden` are unpacked on the device. Those of other codecs are unpacked by the numpy codec,
which takes a few hundred bytes a token, and what they hold goes to the device. Everything over the
vocabulary happens there.
"""

import torch
from torch import Tensor

from labelcast.codec import Codec, check_golden, golden_rows
from labelcast.codec.latent import HiddenCodec, LatentCodec, StatePrecision
from labelcast.codec.latent.hidden import BAD_LEVEL, BAD_SCALE, LOST_LEVELS, NOT_FINITE
from labelcast.codec.sparse import SparseCodec
from labelcast.errors import CodecFormatError, LabelValueError
from labelcast.torch.decoding import Bytes, TorchDecoder, floats
from labelcast.torch.tokens.heads.teacher_head import TeacherHead
from labelcast.torch.tokens.sparse_rows import SparseRows
from labelcast.views import Rows

_STORED = {StatePrecision.FP16: torch.float16, StatePrecision.FP32: torch.float32}


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
        self.width = codec.width
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


class HiddenDecoder(LatentDecoder, codec=HiddenCodec):
    """Decodes rows of `hidden` on the device, to the very states that numpy gives.

    Args:
        codec: codec of the rows.
        device: device of states and head.
    """

    def __init__(self, codec: Codec, device: torch.device) -> None:
        super().__init__(codec, device)
        if not isinstance(codec, HiddenCodec):
            raise CodecFormatError(f"codec {codec.name!r} is not hidden")
        self._layout = codec
        channels = codec.channels
        self._channels = None if channels is None else torch.tensor(channels, device=device)

    def latents(self, rows: Bytes) -> Tensor:
        """See `LatentDecoder.latents`."""
        rows, _ = self.place(rows)
        if self._channels is None:
            states = floats(rows, _STORED[self._layout.precision]).float()
            if not torch.isfinite(states).all():
                raise LabelValueError(NOT_FINITE)
            return states
        start, width, block = 2 * self._layout.num_scales, self.width, self._layout.block
        scales = floats(rows[:, :start], torch.bfloat16).float()
        levels = rows[:, start:].contiguous().view(torch.int8)
        spread = scales.repeat_interleave(block, dim=1)[:, :width]
        states = levels.float().mul_(spread).mul_(self._channels)
        # One transfer for all findings: each would stall the device by itself.
        wrong = torch.stack(
            [
                # Of −0 only the sign tells, and written so that NaN fails.
                ~((scales >= 0) & ~scales.signbit()).all() | ~torch.isfinite(scales).all(),
                (levels < -127).any(),
                ((spread == 0) & (levels != 0)).any(),
                ~torch.isfinite(states).all(),
            ]
        ).tolist()
        for found, what in zip(wrong, (BAD_SCALE, BAD_LEVEL, LOST_LEVELS, NOT_FINITE), strict=True):
            if found:
                raise LabelValueError(what)
        return states


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
