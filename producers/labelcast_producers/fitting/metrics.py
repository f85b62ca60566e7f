"""How much of the teacher survives the codes, measured with the decoder that students get."""

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from labelcast.torch.precision import exact_fp32
from labelcast_producers.dense.files import LabelRows
from labelcast_producers.dense.row_context import RowContext
from labelcast_producers.fitting.sampling import RowNumbers
from labelcast_producers.neural.autoencoder import log_probabilities
from labelcast_producers.neural.encoding import VqaeEncoder, context_tensor

_MAX_BLOCK_ROWS = 2048
_BLOCK_VALUES = 2**23


class Metrics(BaseModel):
    """Means over some rows.

    Attributes:
        rows: number of rows measured.
        kl_nats: KL(teacher ‖ decoded) at the fit's temperature.
        teacher_entropy_nats: the teacher's entropy at that temperature, as a scale for the KL.
        top1_agreement: share of rows whose likeliest class is the teacher's, or one of those that
            are tied for it.
        top5_agreement: share of rows whose five likeliest classes hold one of the teacher's
            likeliest.
        perplexities: for each codebook, the effective number of codewords in use (1 to K).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    kl_nats: float
    teacher_entropy_nats: float
    top1_agreement: float
    top5_agreement: float
    perplexities: tuple[float, ...]

    @property
    def mean_perplexity(self) -> float:
        """Mean over the codebooks; 1 if there are none."""
        return sum(self.perplexities) / len(self.perplexities) if self.perplexities else 1.0


@torch.no_grad()
def measure(
    encoder: VqaeEncoder, labels: LabelRows, context: RowContext | None, rows: RowNumbers
) -> Metrics:
    """Encode and decode `rows`, block by block.

    Args:
        encoder: encoder whose model has been rounded to what artifacts store.
        labels: source of the rows.
        context: context of a conditioned encoder.
        rows: int64, shape (n,), n at least 1, ascending for fast reading.

    Raises:
        LabelValueError: a row holds NaN or infinity; names it.
    """
    model, temperature = encoder.model, encoder.temperature
    device = model.quantizer.codebooks.device
    M, K, _ = model.quantizer.codebooks.shape
    totals = torch.zeros(4, dtype=torch.float64, device=device)
    counts = torch.zeros((M, K), device=device)
    size = max(1, min(_MAX_BLOCK_ROWS, _BLOCK_VALUES // labels.num_classes))
    with exact_fp32(device):
        for part in np.array_split(rows, -(-len(rows) // size)):
            block = torch.from_numpy(labels.gather(part)).to(device)
            teacher = log_probabilities(block, encoder.label_kind, temperature)
            packed = None if context is None else context.rows(part)
            about = model.context(context_tensor(packed, device))
            codes = encoder.choose(teacher, about)
            logits = model.decode(model.quantizer.look_up(codes), about)
            decoded = torch.log_softmax(logits / temperature, dim=1)
            totals += _block_totals(teacher, decoded)
            for book in range(M):
                counts[book] += torch.bincount(codes[:, book], minlength=K)
    kl, entropy, top1, top5 = (totals / len(rows)).tolist()
    return Metrics(
        rows=len(rows),
        kl_nats=max(0.0, kl),
        teacher_entropy_nats=max(0.0, entropy),
        top1_agreement=top1,
        top5_agreement=top5,
        perplexities=tuple(perplexities(counts).tolist()),
    )


def kl_divergence(teacher: Tensor, decoded: Tensor) -> Tensor:
    """KL(teacher ‖ decoded) of each row, from log-probabilities (N, C): shape (N,)."""
    divergence: Tensor = (teacher.exp() * (teacher - decoded)).sum(dim=1)
    return divergence


def is_likeliest(teacher: Tensor, classes: Tensor) -> Tensor:
    """Whether no class is likelier to the teacher: where classes are tied, any of them is right.

    Args:
        teacher: log-probabilities, shape (N, C).
        classes: int64, shape (N, k).

    Returns:
        bool, shape (N, k).
    """
    likeliest: Tensor = teacher.gather(1, classes) == teacher.amax(dim=1, keepdim=True)
    return likeliest


def perplexities(counts: Tensor) -> Tensor:
    """Exponential of the entropy of each codebook's use: counts (M, K) to (M,)."""
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    effective: Tensor = torch.special.entr(shares).sum(dim=1).exp()
    return effective


def _block_totals(teacher: Tensor, decoded: Tensor) -> Tensor:
    five = is_likeliest(teacher, decoded.topk(min(5, decoded.shape[1]), dim=1).indices)
    sums = [
        kl_divergence(teacher, decoded).sum(),
        -(teacher.exp() * teacher).sum(),
        five[:, 0].sum(),
        five.any(dim=1).sum(),
    ]
    return torch.stack([value.double() for value in sums])
