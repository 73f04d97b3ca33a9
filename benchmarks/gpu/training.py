"""Functions that time training steps of coordinate tasks, classifiers, detectors and GANs in Trainer and plain loops.

Both train on the same batches, which are on the device beforehand. They take turns, some steps each, so that both meet
the same state of the machine. The Trainer has no logger and no callbacks; the task updates its metrics.
"""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gan import ADAM, SIZES, PlainLoop
from benchmarks.gpu.parts import Row, Setting
from lightning_coordconv.classification import ImageClassification, PlacedDigits, PooledClassifier, ResNetClassifier
from lightning_coordconv.coordinates import (
    CoordConvDecoder,
    CoordConvRenderer,
    CoordinateClassification,
    CoordinateRendering,
    DeconvDecoder,
    NotSoClevr,
)
from lightning_coordconv.detection import Detector, FieldOfMnist, ObjectDetection, RegionProposal, RegionProposalNet
from lightning_coordconv.generative import GAN, ConvDiscriminator, ConvGenerator, CoordConvGenerator, SortOfClevr

Batch = dict[str, Any]
Loss = Callable[[Any, Batch], Tensor]
Train = Callable[[Batch], object]


class TakingTurns:
    """Batches for a Trainer, which pause after each block for a block of the plain loop; both blocks are timed."""

    def __init__(self, batches: list[Batch], plain: Train, device: torch.device, blocks: int, block: int) -> None:
        self.batches = batches
        self.plain = plain
        self.device = device
        self.blocks = blocks
        self.block = block
        self.seconds: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return self.blocks * self.block

    def __iter__(self) -> Iterator[Batch]:
        batches = [self.batches[i % len(self.batches)] for i in range(self.block)]
        for _ in range(self.blocks):
            begin = self.now()
            for batch in batches:
                self.plain(batch)
            between = self.now()
            yield from batches  # a batch is asked for when the step of the one before has been launched
            self.seconds.append((between - begin, self.now() - between))

    def now(self) -> float:
        """Return the time when the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def compare_loops(setting: Setting, task: LightningModule, plain: Train, batches: list[Batch], block: int) -> Row:
    """Return the milliseconds of a step of both loops, and the ratio of the task's to the plain one's."""
    blocks, block = (4, 1) if setting.small else (13, block)
    loader = TakingTurns(batches, plain, setting.device, blocks, block)
    trainer = Trainer(
        accelerator=setting.accelerator, devices=1, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(task, loader)
    timed = loader.seconds[1:]  # the first block sets things up; the last is not timed, as the Trainer asks for no more
    low, middle, high = statistics.quantiles([ours / theirs for theirs, ours in timed], n=4)
    plain_ms, task_ms = (1e3 * statistics.median(column) / block for column in zip(*timed, strict=True))
    return {"plain_ms": plain_ms, "task_ms": task_ms, "ratio": middle, "low": low, "high": high}


def plain_loop(task: Any, loss: Loss, device: torch.device) -> Train:
    """Return a loop body that trains a copy of a task's network with the task's optimiser."""
    other = copy.deepcopy(task).to(device)
    optimizer = other.configure_optimizers()

    def train(batch: Batch) -> None:
        optimizer.zero_grad()
        loss(other, batch).backward()
        optimizer.step()

    return train


def on(device: torch.device, batch: Batch) -> Batch:
    """Copy a batch of tensors, and lists of them, to a device."""
    return {
        key: value.to(device) if isinstance(value, Tensor) else [tensor.to(device) for tensor in value]
        for key, value in batch.items()
    }


def pixel_loss(task: Any, batch: Batch) -> Tensor:
    """Return the loss of coordinate classification."""
    return F.cross_entropy(task.net(batch["xy_scaled"]).flatten(1), batch["pixel_index"])


def image_loss(task: Any, batch: Batch) -> Tensor:
    """Return the loss of rendering."""
    return F.binary_cross_entropy_with_logits(task.net(batch["xy_scaled"])[0], batch["image"].squeeze(1))


def class_loss(task: Any, batch: Batch) -> Tensor:
    """Return the loss of image classification."""
    return F.cross_entropy(task.net(batch["image"]), batch["label"])


def detection_loss(task: Any, batch: Batch) -> Tensor:
    """Return the sum of the losses that torchvision's detectors return."""
    pairs = zip(batch["boxes"], batch["labels"], strict=True)
    targets = [{"boxes": boxes, "labels": labels} for boxes, labels in pairs]
    return torch.stack(list(task.net(batch["image"], targets).values())).sum()


def proposal_loss(task: Any, batch: Batch) -> Tensor:
    """Return the loss of region proposals, by the task itself: what remains is the Trainer's share."""
    loss: Tensor = task.evaluate(batch)["loss"]
    return loss


def photographs(count: int, side: int) -> Batch:
    """Return random images of different sizes with two boxes each, as detectors take them."""
    images = [torch.rand(3, side, side + 16 * i) for i in range(count)]
    boxes = [torch.tensor([[2.0, 2.0, side / 2, side / 3], [side / 4, 4.0, side - 2.0, side - 4.0]])] * count
    return {"image": images, "boxes": boxes, "labels": [torch.tensor([1, 2])] * count}


def recipes(setting: Setting) -> Iterator[Row]:
    """Compare a step of the recipes of the coordinate tasks, classification and detection."""
    small, device = setting.small, setting.device
    canvas = 16 if small else 64
    positions = NotSoClevr("all", canvas=canvas).__getitems__(list(range(16)))
    digits = PlacedDigits("train", "mixed").__getitems__(list(range(16 if small else 128)))
    side, count = (32, 2) if small else (224, 64)
    images = {"image": torch.rand(count, 3, side, side), "label": torch.arange(count) % 10}
    resnet = ResNetClassifier("resnet18" if small else "resnet50", 10, coordinates=True)
    options = {"min_size": 64, "max_size": 96} if small else {}
    detector = Detector(
        "fasterrcnn_mobilenet_v3_large_320_fpn" if small else "fasterrcnn_resnet50_fpn", 6, options=options
    )
    cases: dict[str, tuple[Any, Loss, Batch, int]] = {
        "coordinates, CoordConv decoder": (
            CoordinateClassification(CoordConvDecoder(canvas=canvas)),
            pixel_loss,
            positions,
            25,
        ),
        "coordinates, deconvolution": (
            CoordinateClassification(DeconvDecoder(2, 2, canvas)),
            pixel_loss,
            positions,
            25,
        ),
        "coordinates, renderer": (CoordinateRendering(CoordConvRenderer(canvas=canvas)), image_loss, positions, 25),
        "classification, digits": (ImageClassification(PooledClassifier(10, coordinates=True)), class_loss, digits, 25),
        "classification, ResNet": (ImageClassification(resnet), class_loss, images, 4),
        "detection, region proposals": (
            RegionProposal(RegionProposalNet(coordinates=["image", "features", "offsets"])),
            proposal_loss,
            FieldOfMnist("train", 8).__getitems__(list(range(8))),
            10,
        ),
        "detection, Faster R-CNN": (ObjectDetection(detector), detection_loss, photographs(count=2, side=side), 4),
    }
    for name, (task, loss, data, block) in cases.items():
        batches = [on(device, data)]
        row = compare_loops(setting, task, plain_loop(task, loss, device), batches, block)
        yield {"recipe": name, **row, "batch_size": len(next(iter(data.values())))}


def gans(setting: Setting) -> Iterator[Row]:
    """Compare an iteration of GANs: one step of the discriminator, two of the generator."""
    for name, size in SIZES.items():
        size = size | ({"batch": 2, "canvas": 32, "width": 16} if setting.small else {})
        for kind, build in (("conv", ConvGenerator), ("coordconv", CoordConvGenerator)):
            latent_size, canvas, width = size["latent_size"], size["canvas"], size["width"]
            generator = build(latent_size, canvas, width).to(setting.device)
            discriminator = ConvDiscriminator(canvas, width, kind == "coordconv").to(setting.device)
            plain = PlainLoop(generator, discriminator, latent_size, 2)
            task = GAN(generator, discriminator, ADAM, ADAM, generator_steps=2, latent_size=latent_size)
            images = SortOfClevr("train", size["batch"], canvas, 10 * canvas // 64)
            batch = on(setting.device, images.__getitems__(list(range(size["batch"]))))

            def train(batch: Batch, plain: PlainLoop = plain) -> None:
                with setting.device:  # the loop draws its latent vectors on the default device
                    plain(batch["image"])

            row = compare_loops(setting, task, train, [batch], 5)
            yield {"recipe": f"generative, {name}, {kind}", **row, "batch_size": size["batch"]}
