"""HALD: one file an epoch, holding SRe2L-like lists with probabilities instead of logits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.producers.formats.writers.batches import Batch, BatchWriter, Record, Stored
from tests.producers.formats.writers.scaffold import save, writer

INDICES_NAME = "sampler_indices_dict.pt"


@dataclass(frozen=True, kw_only=True)
class Hald(BatchWriter):
    """Files `epoch_{e}.tar` and the IDs of every epoch.

    Attributes:
        temperature: of the stored softmax.
    """

    temperature: float = 20.0

    def stored(self, batches: Sequence[Batch]) -> Iterator[Stored]:
        for batch in batches:
            labels = torch.softmax(batch.logits / self.temperature, dim=1).half()
            coords = batch.coords.half()
            yield (
                [coords, *batch.six(labels)[1:]],
                {
                    "labels": labels.numpy(),
                    "label_kind": "probabilities",
                    "temperature": self.temperature,
                    "coords": coords.float().numpy(),
                },
            )

    def save(self, directory: Path, batches: Sequence[Batch], records: Sequence[Record]) -> None:
        pairs = list(zip(batches, records, strict=True))
        ids = self.ids_of_epochs()
        for epoch in ids:
            of_epoch = [record for batch, record in pairs if str(batch.epoch) == epoch]
            save(of_epoch, directory / f"epoch_{epoch}.tar")
        save(ids, directory / INDICES_NAME)


write_hald = writer(Hald)
