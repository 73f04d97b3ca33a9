"""Program for tests: a command line whose ranks draw the actions that one process for all environments would draw."""

import os
import sys

import torch
from torch.distributions import Categorical

from tests.runtime.distributed.ranks import run_all

ENVS = 8
NOISE = torch.Generator().manual_seed(0)


def sample(distribution: Categorical, sample_shape: torch.Size = torch.Size()) -> torch.Tensor:  # noqa: B008
    """Draw by Gumbel noise, of which each rank takes its rows."""
    exponential = torch.empty(ENVS, distribution.logits.shape[1]).exponential_(generator=NOISE)
    rank, share = int(os.environ["LOCAL_RANK"]), ENVS // int(os.environ["WORLD_SIZE"])
    return (distribution.logits - exponential[rank * share : (rank + 1) * share].log()).argmax(1)


if __name__ == "__main__":
    Categorical.sample = sample
    run_all(sys.argv[1:])
