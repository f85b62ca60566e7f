"""Arithmetic of what need not be exact: fitting steps and the search for codes."""

from enum import StrEnum

import torch


class Compute(StrEnum):
    """`auto` takes bf16 where the hardware multiplies it, else fp32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"

    def resolve(self, device: torch.device) -> "Compute":
        """The arithmetic to use on a device: never `auto`."""
        if self is not Compute.AUTO:
            return self
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and _cpu_has("amx_bf16")
        return Compute.BF16 if fast else Compute.FP32

    def resolve_for_search(self, device: torch.device) -> "Compute":
        """The arithmetic of what only proposes codes: bf16 on CPUs with AVX-512 BF16, too.

        Products of the search took 0.4 times as long with it. Fits keep to fp32 there, as
        they were measured.
        """
        if self is Compute.AUTO and device.type == "cpu" and _cpu_has("avx512_bf16"):
            return Compute.BF16
        return self.resolve(device)

    def autocast(self, device: torch.device) -> torch.autocast:
        """Context in which products are computed this way."""
        enabled = self.resolve(device) is Compute.BF16
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def _cpu_has(capability: str) -> bool:
    # Newer than the oldest PyTorch that we support.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get(capability))
