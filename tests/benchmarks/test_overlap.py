"""Tests that emulators that overlap with the policy make the same rollouts as emulators that take turns with it."""

import numpy as np
import pytest
import torch

from benchmarks import overlap


@pytest.mark.slow
def test_overlapped_rollouts_are_those_of_halves_in_turn():
    rollouts = []
    for way in ("in_turn", "overlapped"):
        torch.manual_seed(0)
        actor = overlap.Actor([2, 2], 1)
        torch.manual_seed(1)  # of the actions
        rollouts.append([frame for _ in range(3) for frame in getattr(actor, way)()])
    assert len(rollouts[0]) == 3 * overlap.ROLLOUT
    assert all(map(np.array_equal, *rollouts))
    assert not np.array_equal(rollouts[0][0], rollouts[0][-1])
