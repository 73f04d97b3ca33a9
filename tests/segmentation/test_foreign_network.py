"""Tests of a network of segmentation-models-pytorch in the task, from a config and converted in Python."""

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torchvision.transforms import v2

from lightning_coordconv import coordconv_layers, to_coordconv
from lightning_coordconv.segmentation import MaskFolderDataModule, SemanticSegmentation, predict_tiles
from tests.segmentation.masks import write_masks

smp = pytest.importorskip("segmentation_models_pytorch")
pytestmark = pytest.mark.slow
SIDE = 64


@pytest.fixture
def masks(tmp_path):
    """The photographs, whose sizes are multiples of the stride of the network, 32."""
    folder = tmp_path / "masks_folder"
    folder.mkdir()
    write_masks(folder, copies=4)
    return folder


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_fit_and_predict_by_class_path(cli, masks, request):
    config = request.config.rootpath / "configs" / "segmentation" / "masks_conv.yaml"
    arguments = (
        f"-c={config}", f"--data.root={masks}", "--data.num_classes=3", "--data.num_workers=0", "--data.crop=[64,64]",
        "--model.num_classes=3", "--model.net=segmentation_models_pytorch.Unet",
        "--model.net.init_args.encoder_name=resnet18", "--model.net.init_args.encoder_weights=null",
        "--model.net.init_args.classes=3", "--trainer.enable_progress_bar=false", "--trainer.num_sanity_val_steps=0",
        '--data.train_transforms=[{"class_path": "torchvision.transforms.v2.RandomRotation", '
        '"init_args": {"degrees": 10}}]',
    )  # fmt: skip
    folder = cli("fit", *arguments, "--trainer.max_epochs=1") / "logs" / "segmentation" / "masks_conv" / "version_0"
    checkpoint = folder / "checkpoints" / "last.ckpt"
    cli("predict", *arguments, "--ckpt_path", checkpoint, "--model.tile=96", "--model.overlap=32")
    written = sorted(folder.parent.glob("version_*/masks/*.png"))
    assert written
    assert all(np.asarray(Image.open(path)).max() < 3 for path in written)


def test_a_converted_network_begins_as_it_was_and_is_trained_and_predicts_by_tiles(masks):
    torch.manual_seed(0)
    network = smp.Unet("resnet18", encoder_weights=None, classes=3).eval()
    image = torch.rand(1, 3, SIDE, SIDE)
    with torch.no_grad():
        before = network(image)
        to_coordconv(network, ["encoder.conv1", "decoder.blocks.*.conv1.0"])
        assert torch.equal(network(image), before)
    layers = coordconv_layers(network.train())
    assert len(layers) == 6
    data = MaskFolderDataModule(
        str(masks), 3, crop=(SIDE, SIDE), train_transforms=[v2.RandomRotation(10)], batch_size=4, num_workers=0
    )
    task = SemanticSegmentation(network, 3, tile=96, overlap=32)
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(task, data)
    assert all(layer.coord_weight.abs().max() > 0 for layer in layers.values())
    predicted = trainer.predict(task, data)
    task.eval()
    for (labels,), sample in zip(predicted, data.dataset("test"), strict=True):
        assert labels.shape == sample["mask"].shape
        with torch.no_grad():
            assert torch.equal(labels, predict_tiles(task.net, sample["image"], 96, 32))
