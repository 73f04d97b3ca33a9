"""Functions that allow TF32 on a GPU, and say where bfloat16 is slow because the processor does not multiply it."""

from pathlib import Path

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator
from pytorch_lightning.utilities import rank_zero_info

CPU_INFO = Path("/proc/cpuinfo")
INSTRUCTIONS = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags of processors with products of bfloat16, as Linux names them: of x86, and of Arm."""


def choose_precision(trainer: Trainer) -> None:
    """Allow TF32 in float32 products on a GPU; on a CPU, report bfloat16 that it only emulates. Both print a line."""
    if isinstance(trainer.accelerator, CUDAAccelerator):
        torch.set_float32_matmul_precision("high")
        rank_zero_info("float32_matmul_precision is 'high': float32 products may use TF32 on this device")
    elif isinstance(trainer.accelerator, CPUAccelerator) and "bf16" in str(trainer.precision) and emulates_bfloat16():
        rank_zero_info(
            f"this processor does not multiply bfloat16, so that precision {trainer.precision} is slow: "
            "--trainer.precision 32-true is faster here"
        )


def emulates_bfloat16() -> bool:
    """Return whether this processor is known to have no products of bfloat16; other systems than Linux do not tell."""
    return CPU_INFO.is_file() and not INSTRUCTIONS & set(CPU_INFO.read_text().split())
