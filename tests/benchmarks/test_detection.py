"""Tests of the detection speed benchmark: both loops train the same network, and steps of each detector run."""

import pytest
import torch

from benchmarks import detection
from lightning_coordconv.detection import DigitFasterRCNN, FieldOfMnistDataModule


@pytest.mark.slow
def test_both_loops_train_the_same_net():
    """Each of a net's weights has moved, by the same steps, after either."""
    data = FieldOfMnistDataModule(num_images=4, num_eval_images=1, clip=True, batch_size=2)
    torch.manual_seed(0)
    fitted = DigitFasterRCNN()
    looped = DigitFasterRCNN()
    looped.load_state_dict(fitted.state_dict())
    torch.manual_seed(1)
    times, waiting = detection.fit(fitted, data)
    assert 0 < waiting < times[-1] - times[0]
    assert len(times) == 3
    torch.manual_seed(1)
    assert len(detection.plain_loop(looped, data)) == len(times)
    for (name, mine), theirs in zip(fitted.named_parameters(), looped.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)


@pytest.mark.slow
def test_steps_of_either_detector(monkeypatch):
    monkeypatch.setattr(detection, "compare", lambda steps, *_: {name: step() for name, step in steps.items()})
    assert {name: list(found) for name, found in detection.arms(0.0).items()} == {
        "region proposals": ["conv", "conv again", "coordconv"],
        "Faster R-CNN": ["conv", "conv again", "coordconv"],
    }
