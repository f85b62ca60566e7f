"""SRe2L, CDA and CV-DD: `epoch_{e}/batch_{b}.tar`, a list of six and no sample IDs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tests.producers.formats.writers.batches import Batch, BatchWriter, Stored
from tests.producers.formats.writers.scaffold import writer


@dataclass(frozen=True, kw_only=True)
class Sre2l(BatchWriter):
    """The raw teacher logits of every epoch.

    Attributes:
        dtype: of the logits, float16 or float32.
    """

    dtype: torch.dtype = torch.float16

    def stored(self, batches: Sequence[Batch]) -> Iterator[Stored]:
        for batch in batches:
            labels = batch.logits.to(self.dtype)
            yield batch.six(labels), {"labels": labels.numpy()}


write_sre2l = writer(Sre2l)
