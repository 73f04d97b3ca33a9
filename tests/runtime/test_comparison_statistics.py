"""Tests of bootstrap intervals over seeds (scale, how often they hold the true mean), and of paired differences."""

import numpy as np
import pytest

from lightning_coordconv.runtime.comparison.arms import Arm, differences
from lightning_coordconv.runtime.comparison.runs import Run
from lightning_coordconv.runtime.comparison.statistics import bootstrap


def test_differences_are_paired_by_seed():
    ours = Arm("ours", [Run(None, "ours", seed, metrics={"m": 10.0 * seed + 1}) for seed in (3, 1, 2)])
    theirs = Arm("theirs", [Run(None, "theirs", seed, metrics={"m": 10.0 * seed}) for seed in (2, 3, 9)])
    assert differences(ours, theirs, "m").tolist() == [1.0, 1.0]


def test_intervals_move_and_scale_with_the_values():
    values = np.random.default_rng(1).normal(size=8)
    low, high = bootstrap([values], np.mean)
    assert values.min() <= low < values.mean() < high <= values.max()
    assert bootstrap([3 * values + 5], np.mean) == pytest.approx((3 * low + 5, 3 * high + 5))
    ends = bootstrap([values, values - 2], lambda ours, theirs: ours.mean() - theirs.mean())
    assert ends[0] < 2 < ends[1]


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "least", "most"), [(3, 0.6, 0.9), (20, 0.88, 1.0)])
def test_how_often_an_interval_contains_the_true_mean(seeds, least, most):
    """With few seeds it is too narrow, as the note below the tables says."""
    generator = np.random.default_rng(0)
    ends = [bootstrap([generator.normal(size=seeds)], np.mean) for _ in range(60)]
    assert least <= np.mean([low <= 0 <= high for low, high in ends]) <= most
