"""Tests of restoring tasks: changed networks, non-finite weights and unknown hyperparameters are refused."""

import copy
import enum

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv import Cartesian, CoordConv2d
from lightning_coordconv.classification import ImageClassification, PooledClassifier, ResNetClassifier
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.description import complete, remember_arguments
from lightning_coordconv.core.network_changes import find_change
from lightning_coordconv.core.restore import load_weights, restore


def saved(task):
    """Return what Lightning saves of a task, and what the task adds."""
    checkpoint = {"hyper_parameters": dict(task.hparams), "state_dict": task.state_dict()}
    complete(checkpoint, task, task.unsaved_hparams, task.given_objects, {})
    return checkpoint


@remember_arguments
class Settings(PooledClassifier):
    """A network with settings in a list and a dict, like the mean and the standard deviation of a detector."""

    def __init__(self, num_classes):
        super().__init__(num_classes, True, channels=3)
        self.steps = [1, [2]]
        self.scales = {"low": 0.5}
        self.strides = None
        self.kept = []


@pytest.fixture
def task():
    return ImageClassification(Settings(2))


def replace(net, name, module):
    net.get_submodule(name.rpartition(".")[0]).add_module(name.rpartition(".")[2], module)


def first(net, kind):
    return next((name, module) for name, module in net.named_modules() if isinstance(module, kind))


CHANGES = {
    "another class": lambda net: replace(net, first(net, nn.ReLU)[0], nn.GELU()),
    "another stride": lambda net: setattr(first(net, nn.Conv2d)[1], "stride", (1, 1)),
    "another encoding": lambda net: setattr(first(net, CoordConv2d)[1], "encoding", Cartesian(align_corners=False)),
    "another list": lambda net: net.steps.append(4),
    "another dict": lambda net: net.scales.update(high=2.0),
    "one more": lambda net: net.add_module("more", nn.Dropout()),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("again", [False, True])
def test_a_network_that_was_changed_is_not_described(task, change, again):
    """Its weights have the names and shapes of the network that its arguments build, which computes something else."""
    task = restore(ImageClassification, saved(task), "last.ckpt") if again else task
    assert saved(task)["hyper_parameters"]["net"]["init_args"]["num_classes"] == 2
    CHANGES[change](task.net)
    with pytest.warns(UserWarning, match="The checkpoint does not describe the net: its module .* was changed"):
        checkpoint = saved(task)
    with pytest.raises(CheckpointError, match=r"last.ckpt does not describe the net of ImageClassification.*net="):
        restore(ImageClassification, checkpoint, "last.ckpt")


def test_what_a_first_pass_sets_is_no_change(task):
    """As torchvision's regions of interest note the scales of the first feature maps."""
    task.net.strides = [4.0, 8.0]
    task.net.kept.append(0.5)
    assert find_change(task.net) is None


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("part", ["", "2"])
def test_hooks_that_a_checkpoint_cannot_hold_are_named(task, register, part):
    handle = getattr(task.net.get_submodule(part), register)(lambda *arguments: None)
    with pytest.warns(UserWarning, match=f"does not hold the forward hooks of the net: its module '{part}' has some"):
        assert "net" in saved(task)["hyper_parameters"]
    handle.remove()
    saved(task)


def test_a_network_with_another_forward_is_not_described(task):
    task.net.forward = lambda images: 2 * PooledClassifier.forward(task.net, images)
    with pytest.warns(UserWarning, match="its module '' was changed after it was built"):
        assert "net" not in saved(task)["hyper_parameters"]


def test_what_a_run_does_to_a_network_is_no_change():
    net = PooledClassifier(2, True, channels=3)
    net.train().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    assert find_change(net) is None
    resnet = ResNetClassifier("resnet18", 2, coordinates=True)
    assert find_change(nn.SyncBatchNorm.convert_sync_batchnorm(resnet)) is None
    assert find_change(copy.deepcopy(resnet)) is None


def test_buffers_of_a_run_that_diverged_are_refused_and_masks_are_not():
    """A running variance of infinity gives each image the same class, and never becomes finite again."""
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    task = ImageClassification(net)
    checkpoint = {"state_dict": task.state_dict(), "hyper_parameters": {}}
    load_weights(ImageClassification(net), checkpoint, "last.ckpt")
    checkpoint["state_dict"]["net.1.running_var"] = torch.tensor([1.0, torch.inf])
    with pytest.raises(CheckpointError, match=r"last.ckpt holds weights that are infinite or NaN: net.1.running_var"):
        load_weights(ImageClassification(copy.deepcopy(net)), checkpoint, "last.ckpt")


def test_an_unknown_hyperparameter_is_refused(task):
    checkpoint = saved(task)
    checkpoint["hyper_parameters"]["label_smoothing"] = 0.1
    with pytest.raises(CheckpointError, match=r"last.ckpt is of another version: ImageClassification has no .* 'label"):
        restore(ImageClassification, checkpoint, "last.ckpt")


def test_an_argument_is_named_in_the_error_that_it_causes(task):
    with pytest.raises(CheckpointError, match=r"last.ckpt with the given compile is not a checkpoint of this Im"):
        restore(ImageClassification, saved(task), "last.ckpt", given={"compile": "perhaps"})


@remember_arguments
class Leaky(PooledClassifier):
    """Takes options by any name."""

    def __init__(self, num_classes, **options):
        super().__init__(num_classes, True, channels=3)
        leak = options.get("leak", 0.0)
        self.leak = leak[0] if isinstance(leak, list) else leak


@remember_arguments
class Listed(PooledClassifier):
    """Takes numbers without names."""

    def __init__(self, *numbers):
        super().__init__(numbers[0], True, channels=3)


def test_a_class_without_a_constructor_remembers_the_arguments_of_its_base():
    kind = remember_arguments(type("Inheriting", (Leaky,), {}))
    assert kind(2, leak=0.5).init_args == {"num_classes": 2, "leak": 0.5}
    assert Leaky(2).init_args == {"num_classes": 2}


def test_options_by_any_name_are_remembered():
    task = ImageClassification(Leaky(2, leak=0.5))
    assert restore(ImageClassification, saved(task), "last.ckpt").net.leak == 0.5


def test_lists_and_dicts_that_the_caller_changes_later_are_remembered_as_they_were():
    options = {"leak": [0.5]}
    task = ImageClassification(Leaky(2, **options))
    options["leak"][0] = 0.1
    checkpoint = saved(task)
    assert restore(ImageClassification, checkpoint, "last.ckpt").net.leak == 0.5


class Size(enum.IntEnum):
    SMALL = 2


@pytest.mark.parametrize(
    ("given", "saved_as"),
    [(np.float64(0.5), 0.5), (np.float32(0.5), 0.5), (np.int64(2), 2), ([np.str_("a"), np.bool_(True)], ["a", True]),
     ((np.float64(1.5),), (1.5,)), (Size.SMALL, 2), ({"a": np.int8(1)}, {"a": 1})],
)  # fmt: skip
def test_numbers_of_numpy_are_saved_as_numbers_that_load(given, saved_as, tmp_path):
    task = ImageClassification(Leaky(2, kept=given))
    task.inference = {"class_names": given}
    checkpoint = saved(task)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    again = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert again["hyper_parameters"]["net"]["init_args"] == {"num_classes": 2, "kept": saved_as}
    assert type(again["hyper_parameters"]["net"]["init_args"]["kept"]) is type(saved_as)


def test_arguments_without_a_name_are_not_described():
    checkpoint = saved(ImageClassification(Listed(2)))
    with pytest.raises(CheckpointError, match=r"last.ckpt does not describe the net"):
        restore(ImageClassification, checkpoint, "last.ckpt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda checkpoint: checkpoint["inference"].update(undescribed=["transform"]),
            "does not describe the transform",
        ),
        (lambda checkpoint: checkpoint["state_dict"]["net.0.weight"].fill_(torch.nan), "infinite or NaN: net.0.weight"),
    ],
)
def test_trust_keeps_the_checks_that_have_nothing_to_do_with_it(tmp_path, change, message):
    task = ImageClassification(PooledClassifier(2, True, channels=3))
    checkpoint = saved(task) | {"pytorch-lightning_version": "2.6.0"}
    torch.save(checkpoint, tmp_path / "a.ckpt")
    ImageClassification.load_from_checkpoint(tmp_path / "a.ckpt", trust=True)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=message):
        ImageClassification.load_from_checkpoint(tmp_path / "a.ckpt", trust=True)


@pytest.mark.parametrize("averages", [[], [EMAWeightAveraging(decay=0.5)]], ids=["plain", "averaged"])
def test_weights_do_not_load_into_layers_of_other_coordinates_also_if_averaged(averages, tmp_path):
    def network(align_corners):
        layer = CoordConv2d(3, 2, 3, encoding=Cartesian(align_corners=align_corners))
        return nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=averages,
    )  # fmt: skip
    task = ImageClassification(network(True))
    samples = [{"image": torch.rand(3, 8, 8), "label": torch.tensor(number % 2)} for number in range(4)]
    trainer.fit(task, DataLoader(samples, 2), DataLoader(samples, 2))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = ImageClassification.load_from_checkpoint(tmp_path / "last.ckpt", net=network(True))
    for name, weight in task.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    with pytest.raises(CheckpointError, match=r"net.0 was saved with the coordinates Cartesian\(\) and sees Cart"):
        ImageClassification.load_from_checkpoint(tmp_path / "last.ckpt", net=network(False))
