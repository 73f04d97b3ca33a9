"""Tests that ``device_reads`` finds what makes the host wait, and that ``to_device`` copies without waiting."""

import numpy as np
import pytest
import torch

from lightning_coordconv.core.transfers import to_device
from tests.device_reads import device_reads

READS = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.sum() > 0),
    "float": lambda x: float(x.sum()),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "numpy": lambda x: x.numpy(),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "equal": lambda x: torch.equal(x, x),
    "unique": lambda x: x.unique(),
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "as_tensor": lambda x: torch.as_tensor(x.detach(), device=x.device),
}


@pytest.mark.parametrize("read", READS)
def test_a_read_is_found(read):
    x = torch.rand(4)
    with device_reads() as found:
        READS[read](x)
    assert found


def test_a_copy_without_waiting_is_not_found():
    values = torch.rand(4)
    with device_reads() as found:
        copy = to_device(values, torch.device("cpu"))
        torch.tensor([1.0]).to(values.device, non_blocking=True)
        torch.full((), 2.0, device=values.device)
    assert not found
    assert torch.equal(copy, values)
    assert copy.data_ptr() != values.data_ptr()


def test_arrays_become_new_tensors():
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    copy = to_device(array, torch.device("cpu"))
    array[:] = 0
    assert copy.dtype == torch.uint8
    assert copy.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_values_pass_through_pinned_memory_to_a_gpu(monkeypatch):
    """Also where there is no GPU: a mock of the tensor records what is asked of it."""
    calls = []

    class Recorder:
        def pin_memory(self):
            calls.append("pin_memory")
            return self

        def to(self, device, **options):
            calls.append((device.type, options))
            return self

    monkeypatch.setattr(torch, "as_tensor", lambda values: Recorder())
    to_device(torch.zeros(2), torch.device("cuda"))
    assert calls == ["pin_memory", ("cuda", {"non_blocking": True})]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_copy_to_a_gpu_does_not_wait():
    values = torch.rand(1000)
    torch.cuda.set_sync_debug_mode("error")
    try:
        copy = to_device(values, torch.device("cuda"))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(copy.cpu(), values)


def test_arithmetic_is_not_a_read():
    x = torch.rand(4, requires_grad=True)
    with device_reads() as found:
        y = torch.where(x > 0.5, x, 0).index_select(0, torch.tensor([0, 2])).sum()
        y.backward()
        x.grad.clamp_(max=1).masked_fill_(x.grad > 1, 0)
    assert not found
