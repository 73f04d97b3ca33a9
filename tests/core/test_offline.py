"""Tests that loading a checkpoint downloads nothing, opens no connection, and refuses checkpoints of another task."""

import pickle
import socket
import subprocess
import threading

import pytest
import pytorch_lightning
import torch
import torchvision
from torch import nn

from lightning_coordconv.classification import ImageClassification
from lightning_coordconv.core.checkpoints import CheckpointError, UntrustedCheckpointError
from lightning_coordconv.core.offline import offline, restoring
from lightning_coordconv.segmentation import SegmentationNetwork
from tests.slow import slow_except

SMALL = {
    "torchvision.models.squeezenet1_1": "IMAGENET1K_V1",
    "torchvision.models.shufflenet_v2_x0_5": "DEFAULT",
}
LARGE = {
    "torchvision.models.googlenet": "IMAGENET1K_V1",
    "torchvision.models.segmentation.lraspp_mobilenet_v3_large": "COCO_WITH_VOC_LABELS_V1",
    "torchvision.models.detection.ssdlite320_mobilenet_v3_large": "COCO_V1",
}

VERSION = {"pytorch-lightning_version": pytorch_lightning.__version__}


class Pretrained(nn.Linear):
    """A network of somebody's own, which fetches its weights in the manner of timm."""

    def __init__(self, pretrained: bool = False) -> None:
        super().__init__(2, 2)
        if pretrained:
            socket.create_connection(("localhost", 9))


class Curious(nn.Linear):
    """A network that opens a connection whenever it is built."""

    def __init__(self, udp: bool = False) -> None:
        super().__init__(2, 2)
        if udp:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                datagrams.sendto(b"x", ("127.0.0.1", 9))
        socket.create_connection(("localhost", 9)).close()


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"a download: {args}")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)


def written(path, net, specification):
    """Write the checkpoint of a task with a network, whose hyperparameters describe the network otherwise."""
    task = ImageClassification(net)
    hyperparameters = {
        "_class_path": "lightning_coordconv.classification.ImageClassification",
        "_instantiator": "pytorch_lightning.cli.instantiate_module",
        "net": specification,
    }
    torch.save({"state_dict": task.state_dict(), "hyper_parameters": hyperparameters, **VERSION}, path)
    return task


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "weights"), [*SMALL.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in LARGE.items())]
)
def test_torchvision_is_built_as_for_its_weights_without_them(name, weights, tmp_path):
    builder = getattr(__import__(name.rpartition(".")[0], fromlist=["x"]), name.rpartition(".")[2])
    with restoring():
        net = builder(weights=weights)
    task = written(tmp_path / "a.ckpt", net, {"class_path": name, "init_args": {"weights": weights}})
    loaded = ImageClassification.load_from_checkpoint(tmp_path / "a.ckpt")
    assert str(loaded.net) == str(task.net)
    assert getattr(loaded.net, "transform_input", None) == getattr(task.net, "transform_input", None)
    for key, value in task.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


@pytest.mark.parametrize(
    "specification",
    [
        {"class_path": "torchvision.models.get_model", "init_args": {"name": "squeezenet1_1", "weights": "DEFAULT"}},
        {"class_path": "torchvision.models.get_model",
         "init_args": {"name": "squeezenet1_1"}, "dict_kwargs": {"weights": "IMAGENET1K_V1"}},
        {"class_path": "torchvision.models.squeezenet1_1", "init_args": {"weights": "DEFAULT", "progress": False}},
    ],
)  # fmt: skip
def test_wherever_weights_are_named(specification, tmp_path):
    task = written(tmp_path / "a.ckpt", torchvision.models.squeezenet1_1(), specification)
    loaded = ImageClassification.load_from_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(loaded.net.features[0].weight, task.net.features[0].weight)


@pytest.mark.slow
def test_default_weights_of_a_backbone_are_not_fetched(tmp_path):
    name = "torchvision.models.segmentation.lraspp_mobilenet_v3_large"
    net = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None)
    written(tmp_path / "a.ckpt", net, {"class_path": name})
    ImageClassification.load_from_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"weights": "COCO_WITH_VOC_LABELS_V1"}, {"weights_backbone": "IMAGENET1K_V1"}])
def test_networks_of_the_package(given, tmp_path):
    with restoring():
        net = SegmentationNetwork(**given)
    description = {"class_path": "lightning_coordconv.segmentation.SegmentationNetwork", "init_args": given}
    written(tmp_path / "a.ckpt", net, description)
    ImageClassification.load_from_checkpoint(tmp_path / "a.ckpt")


def test_a_flag_named_pretrained_is_off(tmp_path):
    specification = {"class_path": f"{__name__}.Pretrained", "init_args": {"pretrained": True}}
    task = written(tmp_path / "a.ckpt", Pretrained(), specification)
    loaded = ImageClassification.load_from_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(loaded.net.weight, task.net.weight)


@pytest.mark.parametrize("udp", [False, True])
def test_a_network_that_opens_a_connection_is_refused(udp, tmp_path):
    path = tmp_path / "a.ckpt"
    written(path, nn.Linear(2, 2), {"class_path": f"{__name__}.Curious", "init_args": {"udp": udp}})
    with pytest.raises(UntrustedCheckpointError, match=r"a\.ckpt: net names '.*Curious': it reaches for the network"):
        ImageClassification.load_from_checkpoint(path)
    with pytest.raises(OSError, match="refused"):
        ImageClassification.load_from_checkpoint(path, trust=True)


class Starting(nn.Linear):
    """A network that starts a program, or unpickles an object, whenever it is built."""

    def __init__(self, how: str) -> None:
        super().__init__(2, 2)
        if how == "unpickles an object":
            pickle.loads(pickle.dumps(Starting))
        else:
            subprocess.run(["true"], check=True)


@pytest.mark.parametrize("how", ["unpickles an object", "starts a program"])
def test_a_network_that_runs_other_code_is_refused(how, tmp_path):
    path = tmp_path / "a.ckpt"
    written(path, nn.Linear(2, 2), {"class_path": f"{__name__}.Starting", "init_args": {"how": how}})
    with pytest.raises(UntrustedCheckpointError, match=rf"a\.ckpt: net names '.*Starting': it {how}, which loading"):
        ImageClassification.load_from_checkpoint(path)
    ImageClassification.load_from_checkpoint(path, trust=True)


def test_other_threads_and_later_code_are_not_affected():
    with socket.create_server(("localhost", 0)) as server:
        reached = []
        connect = lambda: reached.append(socket.create_connection(server.getsockname()).close())  # noqa: E731
        with restoring(), offline():
            other = threading.Thread(target=connect)
            other.start()
            other.join()
            with pytest.raises(UntrustedCheckpointError):
                connect()
            layer = nn.Linear(1, 1)
            layer.load_state_dict({"weight": torch.ones(1, 1), "bias": torch.ones(1)})
        connect()
    assert len(reached) == 2
    assert layer.bias.item() == 1
    assert nn.Module.load_state_dict.__module__ == "torch.nn.modules.module"


class TestOtherTasks:
    """The checkpoint of another task is refused in one line that names the file and both tasks."""

    def tasks(self):
        from lightning_coordconv.coordinates import CoordinateRegression
        from lightning_coordconv.detection import RegionProposal, RegionProposalNet
        from lightning_coordconv.generative import VAE, ConvEncoder, ConvGenerator
        from lightning_coordconv.segmentation import SemanticSegmentation

        return [
            ImageClassification(nn.Linear(2, 2)),
            CoordinateRegression(nn.Linear(2, 2)),
            SemanticSegmentation(nn.Conv2d(3, 2, 1), 2),
            RegionProposal(RegionProposalNet()),
            VAE(ConvEncoder(), ConvGenerator(32)),
        ]

    @pytest.mark.slow
    @pytest.mark.parametrize("trust", slow_except([False], [False, True]))
    def test_of_all_domains(self, trust, tmp_path):
        from pytorch_lightning import Trainer

        tasks = self.tasks()
        for number, task in enumerate(tasks):
            trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
            trainer.strategy.connect(task)
            trainer.save_checkpoint(tmp_path / f"{number}.ckpt")
            for other in tasks:
                if other is not task:
                    with pytest.raises(CheckpointError) as caught:
                        type(other).load_from_checkpoint(tmp_path / f"{number}.ckpt", trust=trust)
                    message = str(caught.value)
                    beginning = f"{tmp_path / f'{number}.ckpt'} is a checkpoint of {type(task).__name__}, and"
                    assert message.startswith(beginning)
                    assert type(other).__name__ in message
                    assert "\n" not in message

    @pytest.mark.slow
    @pytest.mark.parametrize("trust", slow_except([False], [False, True]))
    def test_without_a_description(self, trust, tmp_path):
        """As of weights that were saved by hand."""
        for number, task in enumerate(self.tasks()):
            path = tmp_path / f"{number}.ckpt"
            torch.save({"state_dict": task.state_dict(), **VERSION}, path)
            with pytest.raises(CheckpointError) as caught:
                ImageClassification.load_from_checkpoint(path, trust=trust, net=nn.Linear(3, 5))
            assert str(caught.value).startswith(f"{path} holds weights of another architecture: ")
            assert "\n" not in str(caught.value)
