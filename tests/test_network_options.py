"""Tests of the options ``compile`` and ``channels_last`` in every task: configs, checkpoints, crops and detectors."""

import inspect
import pydoc

import pytest
import torch
import yaml
from pytorch_lightning import Trainer
from torch import nn

from lightning_coordconv.core import network_options
from lightning_coordconv.core.hyperparameters import accepts
from lightning_coordconv.core.network_options import apply_network_options
from lightning_coordconv.core.offline import restoring
from lightning_coordconv.detection import Detector
from lightning_coordconv.layers import CoordConv2d
from lightning_coordconv.runtime import shipped_configs
from lightning_coordconv.segmentation import SemanticSegmentation
from tests.test_configs import STEPS, smoke

EXPERIMENTS = [
    name for name, paths in shipped_configs.experiments().items() if len(paths) == 1
]  # overlays build no other task
MODELS = {name: yaml.safe_load(shipped_configs.experiments()[name][0].read_text())["model"] for name in EXPERIMENTS}
TASKS = sorted({model["class_path"] for model in MODELS.values()})
QUICKLY_COMPILED = (
    "classification/digits_coordconv",
    "coordinates/regression_quadrant_coordconv",
    "detection/proposals_coordconv",
    "generative/small_coordconv",
    "generative/small_vae_coordconv",
    "rl/find_and_touch_coordconv",
)


class BuiltError(Exception):
    """Ends a command when the task is built; the argument is the task."""


@pytest.fixture
def compiled(monkeypatch):
    """Compile with the backend that only traces, and list what was compiled: the owners of the compiled methods."""
    owners, compile = [], torch.compile

    def trace(function=None, **options):
        owners.append(function.__self__)
        return compile(function, **options | {"backend": "eager"})

    monkeypatch.setattr(torch, "compile", trace)
    torch.compiler.reset()
    yield owners
    torch.compiler.reset()


def build(experiment, cli, monkeypatch, *options):
    """Return the task that a command builds, with the options of quick tests."""

    def fit(trainer, model, *args, **kwargs):
        raise BuiltError(model)

    monkeypatch.setattr(Trainer, "fit", fit)
    with pytest.raises(BuiltError) as built:
        cli("fit", "-c", experiment, *STEPS, *smoke(experiment), *options)
    return built.value.args[0]


def in_channels_last(network):
    weights = [weight for weight in network.parameters() if weight.dim() == 4]
    return all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_both_options(task):
    """A task names them in its constructor, or hands them on through ``**kwargs`` to a base that does."""
    kind = pydoc.locate(task)
    for option in ("compile", "channels_last"):
        assert accepts(kind, option)
        owner = next(base for base in kind.__mro__ if option in inspect.signature(base.__init__).parameters)
        assert inspect.signature(owner).parameters[option].annotation is bool
        assert f"{option}:" in inspect.getdoc(owner)


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_config_builds_with_both_options(experiment, cli, compiled, monkeypatch):
    task = build(experiment, cli, monkeypatch, "--model.compile=true", "--model.channels_last=true")
    assert task.hparams["compile"] is task.hparams["channels_last"] is True
    if not experiment.startswith("rl/"):  # whose policies are built when their environments are known
        assert compiled
        assert all(in_channels_last(network) for network in compiled)
        assert {type(network) for network in compiled}.isdisjoint({type(task)})
        assert not [key for key in task.state_dict() if "orig_mod" in key]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # by the compiler itself
@pytest.mark.parametrize("experiment", QUICKLY_COMPILED)
def test_a_compiled_run_writes_the_checkpoint_of_a_plain_run(experiment, cli, compiled):
    more = [*smoke(experiment), *STEPS, "--figures=false", "--trainer.limit_test_batches=0"]
    states = []
    for version, options in enumerate([[], ["--model.compile=true", "--model.channels_last=true"]]):
        assert not compiled
        folder = cli("fit", "-c", experiment, *more, *options)
        path = folder / "logs" / experiment / f"version_{version}" / "checkpoints" / "last.ckpt"
        states.append(torch.load(path, weights_only=True)["state_dict"])
    plain, other = states
    assert compiled
    assert [(key, weight.shape, weight.dtype) for key, weight in plain.items()] == [
        (key, weight.shape, weight.dtype) for key, weight in other.items()
    ]
    assert all(weight.isfinite().all() for weight in other.values() if weight.is_floating_point())
    task = pydoc.locate(MODELS[experiment]["class_path"])
    for option, more_compiled in (({}, True), ({"compile": False}, False)):
        count = len(compiled)
        restored = task.load_from_checkpoint(path, **option)
        assert (len(compiled) > count) is more_compiled
        assert restored.state_dict().keys() == plain.keys()


@pytest.mark.slow
def test_a_compiled_network_sees_the_coordinates_of_each_crop(compiled):
    """Segmentation enters the frames of the images outside of the compiled network."""
    batch = {"image": torch.rand(2, 3, 8, 8), "mask": torch.randint(3, (2, 8, 8)),
             "origin": torch.tensor([[0, 0], [4, 2]]), "size": torch.tensor([[8, 8], [16, 12]])}  # fmt: skip
    losses = []
    for compile in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(CoordConv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
        losses.append(SemanticSegmentation(net, 3, compile=compile).evaluate(batch)["loss"])
    assert len(compiled) == 1
    torch.testing.assert_close(*losses)
    assert losses[0] != SemanticSegmentation(net, 3).evaluate(batch | {"origin": batch["origin"] + 1})["loss"]


def test_a_detector_compiles_what_sees_images(compiled):
    detector = Detector("fasterrcnn_mobilenet_v3_large_320_fpn", 3, options={"min_size": 64, "max_size": 96})
    keys = list(detector.state_dict())
    apply_network_options(detector, True, True)
    assert compiled == [detector.detector.backbone.body, detector.detector.backbone.fpn]
    assert list(detector.state_dict()) == keys
    assert in_channels_last(detector)


def test_a_network_keeps_the_format_that_it_chose():
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    apply_network_options(network, False, False)
    assert in_channels_last(network)


def test_without_a_compiler_compiling_is_refused_and_checkpoints_load(monkeypatch):
    monkeypatch.setattr(network_options, "COMPILERS", ("no-such-compiler",))
    net = CoordConv2d(3, 4, 3)
    with pytest.raises(ValueError, match=r"^compile=True needs a C\+\+ compiler \(no-such-compiler\): install one"):
        apply_network_options(net, compile=True, channels_last=False)
    with restoring():
        apply_network_options(net, compile=True, channels_last=False)
    assert net(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 6, 6)
