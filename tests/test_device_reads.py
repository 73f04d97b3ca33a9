"""The detector of device reads finds every kind of read, and nothing else."""

import pytest
import torch

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
}


@pytest.mark.parametrize("read", READS)
def test_a_read_is_found(read):
    x = torch.rand(4)
    with device_reads() as found:
        READS[read](x)
    assert found


def test_arithmetic_is_not_a_read():
    x = torch.rand(4, requires_grad=True)
    with device_reads() as found:
        y = torch.where(x > 0.5, x, 0).index_select(0, torch.tensor([0, 2])).sum()
        y.backward()
        x.grad.clamp_(max=1).masked_fill_(x.grad > 1, 0)
    assert not found
