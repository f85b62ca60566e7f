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
            # Newer than the oldest PyTorch that we support.
            capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
            fast = device.type == "cpu" and bool(capabilities.get("amx_bf16"))
        return Compute.BF16 if fast else Compute.FP32

    def autocast(self, device: torch.device) -> torch.autocast:
        """Context in which products are computed this way."""
        enabled = self.resolve(device) is Compute.BF16
        return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
