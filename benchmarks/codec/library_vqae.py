"""A plain VQAE from vector-quantize-pytorch's layers, used as its README shows."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from benchmarks.codec.contract import BenchmarkCodec, FitInput, Packed, Values
from labelcast_producers.fitting.sampling import RowNumbers, batch_rows

CODEBOOK = 256
CODEWORD = 8
_HIDDEN = 512
_BATCH_ROWS = 512
_RUN_ROWS = 32
_PEAK_LEARNING_RATE = 2e-3
_WARMUP_SHARE = 0.03
_FLOOR, _SCALE = -5.0, 3.0


class LibraryVqae(nn.Module):
    """Encoder, one codebook for each slice of the latent, decoder.

    Args:
        num_classes: C.
        codes: M, codebooks.
    """

    def __init__(self, num_classes: int, codes: int) -> None:
        super().__init__()
        latent = codes * CODEWORD
        self.encoder = nn.Sequential(
            nn.Linear(num_classes, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, latent),
        )
        # Heads with codebooks of their own are the library's product quantizer.
        self.quantizer = VectorQuantize(
            dim=latent,
            codebook_size=CODEBOOK,
            codebook_dim=CODEWORD,
            heads=codes,
            separate_codebook_per_head=True,
            # Its default of 0.8 is for sequences of many; 0.98 had a 2 % lower KL after 600 steps.
            decay=0.98,
            kmeans_init=True,
            kmeans_iters=10,
            threshold_ema_dead_code=2,
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, num_classes)
        )

    def forward(self, log_probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, C), codes (N, M) and commitment loss of log-probabilities (N, C)."""
        relative = log_probabilities + math.log(log_probabilities.shape[1])
        latents = self.encoder(relative.clamp(min=_FLOOR) / _SCALE)
        # The quantizer takes sequences; labels are sequences of one.
        quantized, codes, commitment = self.quantizer(latents[:, None])
        return self.decoder(quantized[:, 0]), codes.reshape(len(latents), -1), commitment.sum()


class LibraryCodec(BenchmarkCodec):
    """One byte a codebook."""

    def __init__(self, model: LibraryVqae) -> None:
        super().__init__()
        self._model = model.eval()
        stored = [*model.decoder.parameters(), model.quantizer.codebook]
        self.codec_bytes = 2 * sum(tensor.numel() for tensor in stored)

    @torch.inference_mode()
    def encode(self, labels: NDArray[Any], rows: RowNumbers) -> Packed:
        logits = torch.from_numpy(np.asarray(labels, dtype=np.float32))
        codes = self._model(torch.log_softmax(logits, dim=1))[1]
        packed: Packed = codes.to(torch.uint8).numpy()
        return packed

    @torch.inference_mode()
    def decode(self, packed: Packed, rows: RowNumbers) -> Values:
        codes = torch.from_numpy(packed.astype(np.int64))[:, None]
        quantized = self._model.quantizer.get_output_from_indices(codes)
        decoded: Values = self._model.decoder(quantized[:, 0]).numpy()
        return decoded


def fit_library_vqae(given: FitInput, *, codes: int) -> BenchmarkCodec:
    """Minimise KL and the library's commitment loss: AdamW, warm-up and half a cosine."""
    task, steps = given.task, given.task.fit_steps
    torch.manual_seed(0)
    model = LibraryVqae(task.num_classes, codes).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=_PEAK_LEARNING_RATE,
        total_steps=steps,
        pct_start=_WARMUP_SHARE,
        cycle_momentum=False,
    )
    for step in range(steps):
        rows = batch_rows(task.split, seed=0, step=step, count=_BATCH_ROWS, run_rows=_RUN_ROWS)
        labels = torch.from_numpy(task.dense.rows.gather(rows)).float()
        teacher = torch.log_softmax(labels, dim=1)
        logits, _, commitment = model(teacher)
        decoded = torch.log_softmax(logits, dim=1)
        divergence = nn.functional.kl_div(decoded, teacher, reduction="batchmean", log_target=True)
        optimizer.zero_grad()
        (divergence + commitment).backward()
        optimizer.step()
        schedule.step()
    _round_to_stored(model)
    return LibraryCodec(model)


@torch.no_grad()
def _round_to_stored(model: LibraryVqae) -> None:
    """Give the decoding half the precision that `codec_bytes` counts."""
    for weights in (*model.decoder.parameters(), *model.quantizer.buffers()):
        if weights.is_floating_point():
            weights.copy_(weights.half().float())
