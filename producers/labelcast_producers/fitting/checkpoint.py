"""State of an unfinished fit: one safetensors file, replaced atomically. No pickle.

The file holds everything that the rest of a fit depends on (weights, codebooks, the optimizer's
moments, the number of the next step; batches and draws are functions of the step), so a resumed fit
ends with the same bits as an uninterrupted one, on one CPU with one number of threads and workers.
"""

from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from labelcast.errors import InvalidRequestError
from labelcast.files import write_whole
from labelcast_producers.fitting.config import FitConfig

METADATA_KEY = "labelcast.checkpoint"
START_ANEW = "start over with --fresh (in Python: resume=False)"


class CheckpointHeader(BaseModel):
    """Identifies the fit that a checkpoint belongs to.

    Attributes:
        format: version of this file.
        step: number of the next step.
        seconds: time spent on fitting so far.
        labels_digest: digest that identifies the labels.
        config: settings of the fit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    step: int
    seconds: float
    labels_digest: str
    config: FitConfig


def save_checkpoint(
    path: Path, header: CheckpointHeader, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Replace the checkpoint at `path`; a crash leaves the old one or the new one."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_whole(path, safetensors.torch.save(tensors, {METADATA_KEY: header.model_dump_json()}))


def load_checkpoint(
    path: Path,
    *,
    config: FitConfig,
    labels_digest: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> CheckpointHeader:
    """Restore a fit in place.

    Raises:
        InvalidRequestError: the file is damaged, or belongs to other settings or labels.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = CheckpointHeader.model_validate_json((file.metadata() or {})[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if header.config != config or header.labels_digest != labels_digest:
            raise InvalidRequestError(
                f"{path} belongs to a fit with other settings or labels; use another directory,"
                f" or {START_ANEW}"
            )
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, key = name.split(".", 2)
                state.setdefault(int(number), {})[key] = value
        weights = {
            name.removeprefix("model."): value
            for name, value in tensors.items()
            if name.startswith("model.")
        }
        model.load_state_dict(weights)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (OSError, KeyError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        if isinstance(error, ValidationError):
            raise InvalidRequestError(
                f"{path} is no checkpoint that this version reads; {START_ANEW}"
            ) from None
        reason = str(error).splitlines()[0]
        raise InvalidRequestError(f"{path} is damaged ({reason}); {START_ANEW}") from None
    return header
