"""LPQLD: flat batches of top-k logits, with their sample IDs in a JSON file."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.producers.formats.writers.batches import Batch, Record, Stored
from tests.producers.formats.writers.recovery import scattered
from tests.producers.formats.writers.scaffold import save, writer
from tests.producers.formats.writers.sre2l import Sre2l

INDICES_NAME = "sampler_indices_batch.json"
OPERATIONS = ("Identity", "ShearX", "Rotate", "Posterize", "Solarize", "Color")


def rand_augment_parameters(batch: Batch) -> list[list[tuple[str, float]]]:
    """Two operations and their magnitudes for each image of a batch."""
    rng = np.random.default_rng([batch.epoch, batch.number, 4])
    return [
        [(str(rng.choice(OPERATIONS)), float(rng.uniform(0, 9))) for _ in range(2)]
        for _ in batch.sample_ids
    ]


@dataclass(frozen=True, kw_only=True)
class Lpqld(Sre2l):
    """Files `batch_{n}.tar` through all kept epochs.

    Small integers hold positions and boxes, so `batch_size` and `view` may not pass 256 and 255.
    The truth has the epoch as the seed: see `by_occurrence`.

    Attributes:
        k: classes kept.
        quantised: False for the list of six with dense labels of `dtype`.
        parameters: of RandAugment, such as `rand_augment_parameters`: any object for a batch, which
            is put at position 2. None for a producer without RandAugment.
        missing: what the recovered logits of classes that were not kept are.
    """

    drop_last: bool = True
    k: int = 5
    quantised: bool = True
    parameters: Callable[[Batch], Any] | None = None
    missing: float = -np.inf

    def stored(self, batches: Sequence[Batch]) -> Iterator[Stored]:
        stored = map(self._quantised, batches) if self.quantised else super().stored(batches)
        for batch, (record, columns) in zip(batches, stored, strict=True):
            if self.parameters is not None:
                record.insert(2, self.parameters(batch))
            yield record, columns

    def _quantised(self, batch: Batch) -> Stored:
        top = torch.topk(batch.logits, self.k)
        values, indices = top.values.half(), top.indices.to(torch.int16)
        coords, mix_index, box = batch.coords.half(), batch.mix_index, batch.box
        record = [
            coords,
            batch.flip,
            None if mix_index is None else mix_index.to(torch.uint8),
            batch.lam,
            None if box is None else [torch.tensor(int(edge), dtype=torch.uint8) for edge in box],
            values,
            indices,
        ]
        kept = {"top_values": values.numpy(), "top_indices": top.indices.numpy()}
        labels = scattered(kept["top_indices"], kept["top_values"], self.classes, self.missing)
        return record, kept | {"labels": labels, "coords": coords.float().numpy()}

    def path(self, number: int, batch: Batch) -> str:
        return f"batch_{number}.tar"

    def save(self, directory: Path, batches: Sequence[Batch], records: Sequence[Record]) -> None:
        super().save(directory, batches, records)
        ids = {str(number): batch.sample_ids for number, batch in enumerate(batches)}
        save(json.dumps(ids), directory / INDICES_NAME)


write_lpqld = writer(Lpqld)
