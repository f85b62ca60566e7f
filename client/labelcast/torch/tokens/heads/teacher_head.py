"""A teacher's head on a torch device."""

import warnings

import numpy as np
import torch
from torch import Tensor

from labelcast.codec.latent import Head, HeadDtype
from labelcast.codec.latent.head import HeadRows
from labelcast.torch.precision import exact_fp32

_TORCH_TYPES = {
    HeadDtype.FP32: torch.float32,
    HeadDtype.FP16: torch.float16,
    HeadDtype.BF16: torch.bfloat16,
}
# Weights of two bytes are widened this many bytes at a time.
_SLICE_BYTES = 2**22


class TeacherHead:
    """A head whose values lie on a device, in the type in which they are stored.

    On a CPU they stay where they are: a mapped head stays mapped.

    Args:
        head: from `label_set.head()`.
        device: device of the values.
    """

    def __init__(self, head: Head, device: torch.device | str) -> None:
        self.spec = head.spec
        self.vocabulary = head.vocabulary
        self.device = torch.device(device)
        self._parts = [_values(part, head.spec.dtype).to(self.device) for part in head.parts]

    def __repr__(self) -> str:
        return f"<TeacherHead of {self.vocabulary:,} tokens × {self.spec.width}, {self.device}>"

    def logits(self, states: Tensor, out: Tensor | None = None) -> Tensor:
        """Logits of states, as `Head.logits` gives them.

        Args:
            states: float32, shape (N, d), on the device.
            out: float32, shape (N, V): where to write them; None for a new tensor.

        Returns:
            float32, shape (N, V), without gradient.
        """
        if out is None:
            out = states.new_empty((len(states), self.vocabulary))
        with exact_fp32(self.device):
            first = 0
            for part in self._parts:
                for rows in part.split(self._slice_rows()):
                    self._products(states, rows, out[:, first : first + len(rows)])
                    first += len(rows)
            return self._scaled(out)

    def logits_of(self, states: Tensor, ids: Tensor) -> Tensor:
        """Logits of a few tokens of each state.

        Args:
            states: float32, shape (N, d), on the device.
            ids: int64, shape (N, m), there too.

        Returns:
            float32, shape (N, m), without gradient.
        """
        logits = states.new_empty(ids.shape)
        row_bytes = 4 * (self.spec.width + 1) * max(1, ids.shape[1])
        with exact_fp32(self.device):
            for places in torch.arange(len(ids)).split(max(1, _SLICE_BYTES // row_bytes)):
                part = slice(int(places[0]), int(places[-1]) + 1)
                values = self._gathered(ids[part])
                weights = values[..., : self.spec.width]
                logits[part] = (weights @ states[part, :, None]).squeeze(2)
                if self.spec.bias:
                    logits[part] += values[..., self.spec.width]
            return self._scaled(logits)

    def _slice_rows(self) -> int:
        if self.spec.dtype is HeadDtype.FP32:
            return self.vocabulary
        return max(1, _SLICE_BYTES // (4 * (self.spec.width + 1)))

    def _products(self, states: Tensor, rows: Tensor, out: Tensor) -> None:
        values = rows.float()
        weights = values[:, : self.spec.width].T
        if self.spec.bias:
            torch.addmm(values[:, self.spec.width], states, weights, out=out)
        else:
            torch.mm(states, weights, out=out)

    def _gathered(self, ids: Tensor) -> Tensor:
        """Widened rows of some tokens: float32, shape (*ids.shape, d or d + 1)."""
        flat = ids.reshape(-1)
        rows = self._parts[0].new_empty((len(flat), self._parts[0].shape[1]))
        first = 0
        for part in self._parts:
            inside = ((flat >= first) & (flat < first + len(part))).nonzero().squeeze(1)
            rows[inside] = part[flat[inside] - first]
            first += len(part)
        return rows.float().view(*ids.shape, rows.shape[1])

    def _scaled(self, logits: Tensor) -> Tensor:
        if self.spec.scale != 1:
            logits *= self.spec.scale
        if self.spec.softcap is not None:
            logits.div_(self.spec.softcap).tanh_().mul_(self.spec.softcap)
        return logits


def _values(part: HeadRows, dtype: HeadDtype) -> Tensor:
    with warnings.catch_warnings():
        # Torch warns of read-only memory, as mapped files are; nothing here writes to it.
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(np.ascontiguousarray(part)).view(_TORCH_TYPES[dtype])
