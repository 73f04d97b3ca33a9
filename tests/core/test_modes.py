"""Tests that predictions run in evaluation mode and restore all modes, and that training in evaluation mode warns."""

import warnings

import pytest
import torch
from torch import nn

from lightning_coordconv.core.modes import check_trainable, predicting, warn_of_evaluation_mode
from lightning_coordconv.core.undefined import UndefinedOutputError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)))


@pytest.mark.parametrize("training", [True, False])
def test_a_prediction_is_that_of_evaluation_and_changes_nothing(training):
    task, image = network(), torch.rand(2, 1, 8, 8)
    expected = task.eval()(image)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    task.train(training)
    task[0][1].eval()  # a frozen batch norm
    with predicting(task):
        assert torch.equal(task(image), expected)
    assert [module.training for module in task.modules()] == [training, training, training, False, training]
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    task(image).sum().backward()


def test_an_error_restores_the_mode():
    task = network().train()
    with pytest.raises(UndefinedOutputError), predicting(task):
        task(torch.full((2, 1, 8, 8), torch.nan))
    assert all(module.training for module in task.modules())


def test_a_network_that_will_train_in_evaluation_mode_is_named():
    task = network()
    task[0][1].eval().requires_grad_(False)  # a frozen batch norm is meant
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_evaluation_mode(task)
        warn_of_evaluation_mode(nn.Sequential(nn.Linear(1, 1).eval(), network().eval().requires_grad_(False)))
    with pytest.warns(UserWarning, match=r"^0 is in evaluation mode and will be trained in it") as caught:
        warn_of_evaluation_mode(task.eval())
    assert len(caught) == 1


def test_a_frozen_task_cannot_be_trained():
    check_trainable(nn.Flatten())
    task = network()
    task[0][1].requires_grad_(False)
    check_trainable(task)
    with pytest.raises(
        ValueError, match=r"all weights of Sequential are frozen, as load\(\) freezes.*load_from_checkp"
    ):
        check_trainable(task.requires_grad_(False))
