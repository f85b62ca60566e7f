"""TinyViT: top-k probabilities in fixed records, beside a text file of their keys."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.producers.formats.writers.recovery import spread
from tests.producers.formats.writers.scaffold import ViewWriter, save, writer
from tests.producers.formats.writers.truth import Truth, joined, truth_of_views
from tests.producers.formats.writers.views import Order, ViewDraws, epoch_orders, image_names


@dataclass(frozen=True, kw_only=True)
class TinyVit(ViewWriter):
    """Files `logits_top{k}_epoch{e}/rank{r}-keys.txt` and `rank{r}-values.bin`.

    A record is little-endian: int32 seed, k int16 class IDs, k float16 probabilities, descending.

    Attributes:
        k: classes kept.
        ranks: processes, which take turns in an epoch's order.
        order: of the samples.
        names: the keys, one for each sample.
    """

    k: int = 5
    ranks: int = 2
    order: Order = "current"
    names: Sequence[str] | None = None

    def write(self, directory: Path) -> Truth:
        draws = ViewDraws(self.samples, self.classes, self.seed, stream=6)
        names = self.names or image_names(self.samples, self.classes)
        record = struct.Struct(f"<i{self.k}h{self.k}e")
        parts = []
        for epoch, order in enumerate(epoch_orders(self.samples, self.epochs, self.order)):
            folder = directory / f"logits_top{self.k}_epoch{epoch}"
            for rank in range(self.ranks):
                own = order[rank :: self.ranks]
                top = torch.topk(torch.softmax(draws.logits(own), dim=1), self.k)
                ids, values = top.indices.numpy(), top.values.half().numpy()
                seeds = draws.rng.integers(2**31, size=len(own))
                columns = zip(seeds.tolist(), ids.tolist(), values.tolist(), strict=True)
                records = [record.pack(seed, *classes, *kept) for seed, classes, kept in columns]
                keys = "".join(f"{names[sample]}\n" for sample in own)
                save(keys, folder / f"rank{rank}-keys.txt")
                save(b"".join(records), folder / f"rank{rank}-values.bin")
                parts.append(
                    truth_of_views(
                        own,
                        [epoch] * len(own),
                        labels=spread(ids, values, self.classes),
                        top_values=values,
                        top_indices=ids,
                        stored_seeds=seeds.astype(np.int32),
                    )
                )
        return joined(parts)


write_tinyvit = writer(TinyVit)
