"""Checks of what decodes labels: torch and the devices."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from labelcast_server.doctor.finding import Finding

_GPU_TIMEOUT_SECONDS = 20.0


def check_torch() -> Finding:
    """Check that torch is installed, without importing it, which takes seconds."""
    if importlib.util.find_spec("torch") is None:
        return Finding(
            "torch",
            "warning",
            "torch is not installed: the service can deliver codes, but not finished labels",
            "pip install 'labelcast[server]'",
        )
    return Finding("torch", "ok", f"torch {importlib.metadata.version('torch')}")


@dataclass(frozen=True, slots=True)
class Gpus:
    """What the NVIDIA driver says.

    Attributes:
        finding: the result of the check.
        count: number of GPUs; None if the driver does not say.
    """

    finding: Finding
    count: int | None = 0


def check_gpu() -> Gpus:
    """Check whether the NVIDIA driver sees a GPU."""
    no_gpu = "labels are decoded on the CPU"
    command = shutil.which("nvidia-smi")
    if command is None:
        return Gpus(Finding("gpu", "ok", f"no NVIDIA driver: {no_gpu}"))
    try:
        answer = subprocess.run(
            [command, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_GPU_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        silent = f"nvidia-smi does not answer: {no_gpu}"
        return Gpus(Finding("gpu", "warning", silent, "look at dmesg"), None)
    names = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    if answer.returncode == 0 and names:
        return Gpus(Finding("gpu", "ok", f"{len(names)} GPU: {', '.join(names)}"), len(names))
    return Gpus(
        Finding(
            "gpu",
            "warning",
            f"there is an NVIDIA driver, but no GPU: {no_gpu}",
            "run nvidia-smi and see what it says; in a container, start it with --gpus all",
        )
    )


def check_decoders(devices: Sequence[str], gpu_count: int | None) -> list[Finding]:
    """Check that each decoder will find its device.

    Args:
        devices: device of each decoder.
        gpu_count: number of GPUs; None if unknown.
    """
    findings = []
    for number, device in enumerate(devices):
        kind, _, place = device.partition(":")
        missing = kind == "cuda" and gpu_count is not None and int(place or 0) >= gpu_count
        message = f"decodes on {device}" + missing * f", and this machine has {gpu_count} GPUs"
        remedy = "name devices that there are, counted from cuda:0; or cpu, or auto"
        findings.append(
            Finding(f"decoder-{number}", "error", message, remedy)
            if missing
            else Finding(f"decoder-{number}", "ok", message)
        )
    return findings
