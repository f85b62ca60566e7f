"""`Batch`: what a training loop is given in one step."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from labelcast.torch.data.position import Position
from labelcast.views import Views


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """One batch of a training run: views, images, labels.

    Attributes:
        position: place of its first row in the run.
        next_position: position from which to resume after training on this batch, for a checkpoint.
        views: N views.
        images: float, shape (N, channels, height, width): rendered and mixed.
        labels: float, shape (N, C), or (N, 0) without a label source.
        shown: int64, shape (2, N): hard labels of sample and partner.
        mixed_area: float, shape (N,): the partner's share of the view.
        repeated: bool, shape (N,): rows that only fill this rank up to as many as the others have.
            Their samples come in this epoch anyway, so that a metric leaves them out.
    """

    position: Position
    next_position: Position
    views: Views
    images: Tensor
    labels: Tensor
    shown: Tensor
    mixed_area: Tensor
    repeated: Tensor

    @property
    def epoch(self) -> int:
        """Index into the full list of seeds of the run."""
        return self.position.epoch

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on a device; frameworks that move batches call this."""
        return replace(
            self,
            images=self.images.to(device),
            labels=self.labels.to(device),
            shown=self.shown.to(device),
            mixed_area=self.mixed_area.to(device),
            repeated=self.repeated.to(device),
        )
