"""Tests that tasks, data modules, metrics, callbacks and policies refuse arguments of other types than annotated."""

import copy
import functools
import inspect
import pickle
import re
from collections.abc import Callable

import numpy as np
import pytest
from pytorch_lightning import Callback
from torch import nn
from torch.optim import SGD, Optimizer
from torchmetrics import Metric

import lightning_coordconv.classification as classification
import lightning_coordconv.coordinates as coordinates
import lightning_coordconv.detection as detection
import lightning_coordconv.generative as generative
import lightning_coordconv.rl as rl
import lightning_coordconv.segmentation as segmentation
from lightning_coordconv.core import BaseDataModule, BaseTask
from lightning_coordconv.core.checked import CheckedArguments, check_types
from lightning_coordconv.core.hyperparameters import annotation_of, members_of

DOMAINS = (classification, coordinates, detection, generative, rl, segmentation)
KINDS = {
    kind
    for domain in DOMAINS
    for kind in (getattr(domain, name) for name in domain.__all__)
    if isinstance(kind, type) and issubclass(kind, CheckedArguments)
}
WRONG = {bool: ("no", 1, 0.0, None, []), int: ("3", 2.5, True, None, [2]), float: ("0.1", True, None, [0.5])}


def scalars(kind):
    """Return the arguments of a class that are one flag or number, and the type of each."""
    found = {name: tuple(members_of(annotation_of(kind, name))) for name in inspect.signature(kind).parameters}
    return {name: members[0] for name, members in found.items() if len(members) == 1 and members[0] in WRONG}


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_every_scalar_argument_of_every_class(kind):
    for name, annotated in scalars(kind).items():
        for value in WRONG[annotated]:
            with pytest.raises(ValueError, match=rf"^{name} must be (True or False|an integer|a number), got "):
                kind(**{name: value})


def test_all_tasks_data_modules_metrics_and_callbacks_are_among_them():
    for domain in DOMAINS:
        for name in domain.__all__:
            kind = getattr(domain, name)
            if isinstance(kind, type) and issubclass(kind, BaseTask | BaseDataModule | Metric | Callback):
                assert kind in KINDS or not scalars(kind)
    assert sum(bool(scalars(kind)) for kind in KINDS) > 25


class Example(CheckedArguments):
    def __init__(
        self,
        count: int,
        share: float = 0.5,
        flag: bool = False,
        name: str | None = None,
        size: int | tuple[int, int] = 3,
        options: dict[str, int] | None = None,
    ):
        self.given = (count, share, flag, name, size, options)


class Parts(CheckedArguments):
    def __init__(self, net: nn.Module, optimizer: Callable[[list], Optimizer] = SGD, hook: Callable | None = None):
        self.given = (net, optimizer, hook)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"net": 3}, r"^net must be a torch.nn.Module, got 3$"),
        ({"net": nn.Linear}, r"^net must be a torch.nn.Module, got <class "),
        ({"net": None}, r"^net must be a torch.nn.Module, got None$"),
        ({"net": nn.Linear(1, 1), "optimizer": 0.1}, r"^optimizer must be a function or a class, got 0.1$"),
        ({"net": nn.Linear(1, 1), "optimizer": "Adam"}, r"^optimizer must be a function or a class, got 'Adam'$"),
        ({"net": nn.Linear(1, 1), "hook": [print]}, r"^hook must be a function or a class or None, got \["),
    ],
)
def test_networks_and_functions(arguments, message):
    with pytest.raises(ValueError, match=message):
        Parts(**arguments)
    net, optimizer = nn.Linear(1, 1), functools.partial(SGD, lr=0.1)
    assert Parts(net, optimizer, print).given == (net, optimizer, print)
    assert Parts(net, hook=None).given == (net, SGD, None)


class Derived(Example):
    def __init__(self, *args, extra: bool = True, **kwargs):
        super().__init__(*args, **kwargs)


@pytest.mark.parametrize("kind", [Example, Derived])
def test_by_keyword_and_through_a_subclass(kind):
    with pytest.raises(ValueError, match="flag must be True or False, got 'no'"):
        kind(count=1, flag="no")
    with pytest.raises(ValueError, match="name must be a text or None, got 3"):
        kind(count=1, name=3)
    with pytest.raises(ValueError, match="size must be an integer or tuple, got '3'"):
        kind(count=1, size="3")
    for options in ("a=1", 3, ["a"]):
        with pytest.raises(ValueError, match=re.escape(f"options must be a dict or None, got {options!r}")):
            kind(count=1, options=options)
    kind(count=np.int64(1), share=1, flag=np.bool_(True), name=None, size=[3, 4], options={"a": 1})


def test_by_position():
    with pytest.raises(ValueError, match="share must be a number, got 'half'"):
        Example(1, "half")


def test_instances_are_copied_and_pickled():
    for made in (copy.deepcopy(Example(1)), pickle.loads(pickle.dumps(Example(1)))):
        assert made.given == (1, 0.5, False, None, 3, None)
    metric = segmentation.MeanIoU(num_classes=2)
    for made in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert made.num_classes == 2


def test_arguments_of_an_unannotated_function_are_left_alone():
    check_types(lambda flag: flag, {"flag": "no"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ortho_init": "no"}, "policy_kwargs.ortho_init must be True or False, got 'no'"),
        ({"log_std_init": "0"}, "policy_kwargs.log_std_init must be a number, got '0'"),
        (
            {"features_extractor_class": rl.SmallCNN, "features_extractor_kwargs": {"with_r": "no"}},
            "policy_kwargs.features_extractor_kwargs.with_r must be True or False, got 'no'",
        ),
    ],
)
def test_arguments_of_policies(arguments, message):
    with pytest.raises(ValueError, match=message):
        rl.PPO(100, policy_kwargs=arguments)


@pytest.mark.parametrize("agent", [rl.A2C, rl.PPO])
def test_policies_have_a_dict_of_arguments(agent):
    with pytest.raises(ValueError, match="policy_kwargs must be a dict or None, got 'net_arch'"):
        agent(100, policy_kwargs="net_arch")
