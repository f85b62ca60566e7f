"""Where labels arrive on the host, slice by slice: one travels while the next is decoded.

On a CPU nothing travels, and a turn is one slice. On a GPU softmax and top-k work on a slice as
well, which bounds what they need beside the labels.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from labelcast.codec import Rows

# float32 labels of a slice on a GPU: enough rows to keep it busy, few enough to overlap.
_SLICE_BYTES = 2**22
# The labels of one turn are kept while those of the next arrive.
TURNS_AT_ONCE = 2


class Landing(ABC):
    """Where the labels of a turn arrive; good until as many turns as `TURNS_AT_ONCE` later."""

    @abstractmethod
    def begin(self, shape: tuple[int, int]) -> None:
        """Make room for a turn: uint8, shape (N, stride of the representation)."""

    @abstractmethod
    def put(self, start: int, labels: Tensor) -> None:
        """Let rows `start` and following arrive: uint8, shape (n, stride), on the device."""

    @abstractmethod
    def finish(self) -> Rows:
        """The turn once all of it has arrived: uint8, shape (N, stride)."""


class HostLanding(Landing):
    """For labels that are on the host already."""

    def begin(self, shape: tuple[int, int]) -> None:
        """See `Landing`."""
        # Joined with what arrives, so that no rows at all are a turn too.
        self._nothing = torch.empty((0, shape[1]), dtype=torch.uint8)
        self._slices: list[Tensor] = []

    def put(self, start: int, labels: Tensor) -> None:
        """See `Landing`."""
        self._slices.append(labels)

    def finish(self) -> Rows:
        """See `Landing`."""
        slices, self._slices = self._slices, []
        whole = slices[0] if len(slices) == 1 else torch.cat([self._nothing, *slices])
        arrived: Rows = whole.numpy()
        return arrived


class PinnedLanding(Landing):
    """Page-locked buffers in turn, and a stream of its own to copy to them.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._buffers = [torch.empty(0, dtype=torch.uint8)] * TURNS_AT_ONCE

    def begin(self, shape: tuple[int, int]) -> None:
        """See `Landing`."""
        count, stride = shape
        self._buffers = [*self._buffers[1:], self._buffers[0]]
        if self._buffers[0].numel() < count * stride:
            self._buffers[0] = torch.empty(count * stride, dtype=torch.uint8, pin_memory=True)
        self._arriving = self._buffers[0][: count * stride].reshape(count, stride)

    def put(self, start: int, labels: Tensor) -> None:
        """See `Landing`."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            self._arriving[start : start + len(labels)].copy_(labels, non_blocking=True)
        # Its memory must not be given to the next slice before it has been copied.
        labels.record_stream(self._stream)

    def finish(self) -> Rows:
        """See `Landing`."""
        self._stream.synchronize()
        arrived: Rows = self._arriving.numpy()
        return arrived


def landing_for(device: torch.device) -> Landing:
    """Where labels of a device arrive."""
    return PinnedLanding(device) if device.type == "cuda" else HostLanding()


def slice_rows(device: torch.device, num_classes: int, rows: int) -> int:
    """Rows of a slice of a turn of `rows` rows."""
    if device.type != "cuda":
        return max(1, rows)
    return max(1, _SLICE_BYTES // (4 * num_classes))
