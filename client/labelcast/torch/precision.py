"""True fp32 products, whatever the training script allows for itself."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

_lock = threading.Lock()
_depth = 0
_saved: list[tuple[Any, str]] = []


@contextmanager
def exact_fp32(device: torch.device) -> Iterator[None]:
    """Compute in fp32 inside the block: no TF32, no bf16, no autocast, no gradients.

    PyTorch's switches for TF32 are process-wide, so they are changed only if the user has allowed
    less than fp32, and restored once the last thread has left the block. Meanwhile other threads
    can only compute more exactly than they asked for.

    Args:
        device: device that the block computes on; its autocast is switched off.
    """
    with ExitStack() as stack:
        # Not inference_mode: its tensors cannot be saved for a student's backward pass.
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(device.type, enabled=False))
        _enter()
        stack.callback(_leave)
        yield


def _enter() -> None:
    global _depth
    with _lock:
        _depth += 1
        for backend in _matmul_backends():
            if backend.fp32_precision != "ieee":
                _saved.append((backend, backend.fp32_precision))
                backend.fp32_precision = "ieee"


def _leave() -> None:
    global _depth
    with _lock:
        _depth -= 1
        while _depth == 0 and _saved:
            backend, precision = _saved.pop()
            backend.fp32_precision = precision


def _matmul_backends() -> list[Any]:
    backends = [
        getattr(home, "matmul", None) for home in (torch.backends.cuda, torch.backends.mkldnn)
    ]
    if all(hasattr(backend, "fp32_precision") for backend in backends):
        return backends
    return [_LegacySwitch()]


class _LegacySwitch:
    """The only switch of PyTorch before 2.9, under the name of its successors."""

    @property
    def fp32_precision(self) -> str:
        current = torch.get_float32_matmul_precision()
        return "ieee" if current == "highest" else current

    @fp32_precision.setter
    def fp32_precision(self, value: str) -> None:
        torch.set_float32_matmul_precision("highest" if value == "ieee" else value)
