"""Tests of the precision of a run: TF32 on a GPU, and a line on processors that emulate bfloat16."""

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import CPUAccelerator

from lightning_coordconv.runtime import precision


@pytest.fixture
def lines(monkeypatch):
    said = []
    monkeypatch.setattr(precision, "rank_zero_info", said.append)
    return said


def test_float32_products_use_tensor_cores_and_the_log_says_so(lines, monkeypatch):
    """On a GPU; here the accelerator of the CPU stands for it."""
    chosen = []
    monkeypatch.setattr(precision, "CUDAAccelerator", CPUAccelerator)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    precision.choose_precision(Trainer(accelerator="cpu", logger=False))
    assert chosen == ["high"]
    assert lines == ["float32_matmul_precision is 'high': float32 products may use TF32 on this device"]


@pytest.mark.parametrize(
    ("flags", "chosen", "said"),
    [
        ("flags : fpu sse2 avx2 avx512f", "bf16-mixed", True),
        ("flags : fpu sse2 avx2 avx512f", "bf16-true", True),
        ("flags : fpu sse2 avx2 avx512f", "32-true", False),
        ("flags : fpu avx512_bf16", "bf16-mixed", False),
        ("flags : fpu amx_bf16", "bf16-mixed", False),
        ("Features : fp asimd bf16", "bf16-mixed", False),
        (None, "bf16-mixed", False),
    ],
)
def test_emulated_bfloat16_is_reported(lines, monkeypatch, tmp_path, flags, chosen, said):
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr(precision, "CPU_INFO", tmp_path / "cpuinfo")
    precision.choose_precision(Trainer(accelerator="cpu", precision=chosen, logger=False))
    line = f"precision {chosen} is slow: --trainer.precision 32-true is faster"
    assert [line in other for other in lines] == [True] * said
