"""A teacher small enough to fit within a second, and fits of it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from labelcast.codec import LabelKind
from labelcast_server.fitting import FitConfig, FittedCodec, fit
from labelcast_server.label_files import open_label_file

NUM_CLASSES = 12
SEEDS, SAMPLES = 12, 40


def teacher_logits() -> NDArray[np.float16]:
    """Logits of a small network for noisy views of random samples: (SEEDS, SAMPLES, C)."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, NUM_CLASSES))
    with torch.no_grad():
        for weights in network.parameters():
            weights.normal_(0, 1, generator=generator)
        samples = torch.randn(1, SAMPLES, 6, generator=generator)
        views = samples + 0.3 * torch.randn(SEEDS, SAMPLES, 6, generator=generator)
        logits: NDArray[np.float16] = network(views).numpy().astype(np.float16)
        return logits


def write_labels(directory: Path, labels: NDArray[Any] | None = None) -> Path:
    path = directory / "labels.npy"
    np.save(path, teacher_logits() if labels is None else labels)
    return path


def small_config(**changes: Any) -> FitConfig:
    settings: dict[str, Any] = {
        "codes": 3,
        "codebook_size": 16,
        "codeword_width": 4,
        "encoder_hidden": (32,),
        "decoder_hidden": (32,),
        "steps": 300,
        "learning_rate": 1e-2,
        "batch_rows": 64,
        "run_rows": 4,
        "compute": "fp32",
    }
    return FitConfig.model_validate(settings | changes)


def fit_file(
    path: Path,
    out: Path,
    *,
    kind: LabelKind = LabelKind.LOGITS,
    resume: bool = True,
    checkpoint_seconds: float = 60.0,
    **changes: Any,
) -> FittedCodec:
    """Fit on one CPU thread, so that any two processes compute the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return fit(
            open_label_file(path),
            small_config(**changes),
            out=out,
            label_kind=kind,
            device="cpu",
            progress=False,
            resume=resume,
            checkpoint_seconds=checkpoint_seconds,
        )
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    fit_file(Path(sys.argv[1]), Path(sys.argv[2]), steps=int(sys.argv[3]), checkpoint_seconds=0.05)
