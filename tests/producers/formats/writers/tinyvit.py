"""TinyViT: top-k probabilities in fixed records, beside a text file of their keys."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from tests.producers.formats.writers.recovery import spread
from tests.producers.formats.writers.truth import Truth
from tests.producers.formats.writers.views import Order, Teacher, epoch_orders, image_names


def write_tinyvit(
    directory: Path,
    *,
    samples: int,
    epochs: int,
    batch_size: int | None = None,
    classes: int,
    seed: int = 0,
    k: int = 5,
    ranks: int = 2,
    order: Order = "current",
    names: Sequence[str] | None = None,
) -> Truth:
    """Write `logits_top{k}_epoch{e}/rank{r}-keys.txt` and `rank{r}-values.bin`.

    A record is little-endian: int32 seed, k int16 class IDs, k float16 probabilities, descending.

    Args:
        directory: that gets the epochs' directories.
        samples, epochs, classes: of the data set.
        batch_size: unused: the records know no batches.
        seed: of all that is drawn.
        k: classes kept.
        ranks: processes, which take turns in an epoch's order.
        order: of the samples.
        names: the keys, one for each sample.
    """
    del batch_size
    rng = np.random.default_rng([seed, 6])
    teacher = Teacher(samples, classes, seed)
    names = names or image_names(samples, classes)
    record = struct.Struct(f"<i{k}h{k}e")
    ids, seeds, stored_seeds = [], [], []
    all_indices, all_values = [], []
    for epoch, order_of in enumerate(epoch_orders(samples, epochs, order)):
        folder = directory / f"logits_top{k}_epoch{epoch}"
        folder.mkdir(parents=True, exist_ok=True)
        for rank in range(ranks):
            own = order_of[rank::ranks]
            logits = torch.from_numpy(teacher.logits(rng, np.array(own, dtype=np.int64)))
            top = torch.topk(torch.softmax(logits, dim=1), k)
            values = top.values.half().numpy()
            view_seeds = rng.integers(2**31, size=len(own)).tolist()
            packed = [
                record.pack(view_seed, *row_indices, *row_values)
                for view_seed, row_indices, row_values in zip(
                    view_seeds, top.indices.tolist(), values.tolist(), strict=True
                )
            ]
            keys = "".join(f"{names[sample]}\n" for sample in own)
            (folder / f"rank{rank}-keys.txt").write_text(keys)
            (folder / f"rank{rank}-values.bin").write_bytes(b"".join(packed))
            ids += own
            seeds += [epoch] * len(own)
            stored_seeds += view_seeds
            all_indices.append(top.indices.numpy())
            all_values.append(values)
    indices, kept = np.concatenate(all_indices), np.concatenate(all_values)
    return Truth(
        sample_ids=np.array(ids, dtype=np.uint64),
        seeds=np.array(seeds, dtype=np.uint32),
        labels=spread(indices, kept, classes),
        label_kind="probabilities",
        top_values=kept,
        top_indices=indices,
        stored_seeds=np.array(stored_seeds, dtype=np.int32),
    )
