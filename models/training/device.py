"""What the device of a run can do."""

import torch

from models.training.options import RunError


def check_device(name: str) -> None:
    """Try to put something on a device.

    Raises:
        RunError: This machine, or this torch, has no such device.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # an assertion where torch was built without CUDA
        known = "cuda and cpu" if torch.cuda.is_available() else "cpu"
        raise RunError(f"--device {name} is not here: this machine has {known}") from error


def native_bf16(device: str) -> bool:
    """Whether the device multiplies bfloat16 natively; emulation on a CPU is 15 times slower than float32."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: str) -> torch.autocast:
    """Mixed precision in bfloat16 where the device has it; the DSNT head stays in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=native_bf16(device))
