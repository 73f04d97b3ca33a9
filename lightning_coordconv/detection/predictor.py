"""Classes of a trained detector, to load, use in Python and export, and of the objects that it detects, to draw."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from lightning_coordconv.core.arguments import check_share
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.counts import count
from lightning_coordconv.core.export import Exportable, ExportError
from lightning_coordconv.core.predictor import ImagePredictor, Result, Size
from lightning_coordconv.core.preprocessing import SIZED
from lightning_coordconv.core.sources import Images, Source
from lightning_coordconv.detection.boxes import draw_boxes
from lightning_coordconv.detection.image_frames import trace_one_size
from lightning_coordconv.detection.region_proposal_task import RegionProposal
from lightning_coordconv.detection.skeleton import Skeleton, described_skeleton
from lightning_coordconv.detection.task import ObjectDetection

TOLERANCE = 1e-3
"""Allowed difference of an exported detector's boxes, as a share of the largest coordinate: small terms are summed."""
PROPOSAL = "object"
"""What a box without a class is called."""


class Detection(NamedTuple):
    """One detected object: the name of its class, its score in [0, 1] and its box x1, y1, x2, y2 in pixels."""

    name: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, repr=False)
class Detections(Result):
    """What is detected on one image, the highest score first; iterating yields a :class:`Detection` for each.

    Attributes:
        source: the image.
        boxes: (n, 4), float32, x1, y1, x2, y2 in pixels of the image.
        labels: (n,), int64, from 1 on; 0 is the background.
        scores: (n,), float32, in [0, 1], at least ``threshold``.
        names: of the classes, n strings.
        threshold: lower scores are left out.
        hidden: number of boxes that are left out.
        masks: (n, H, W), bool, of Mask R-CNN.
        keypoints: (n, K, 3), float32, of Keypoint R-CNN: x and y in pixels, and 1.
        keypoint_scores: (n, K), float32, logits.
        skeleton: names of the keypoints, and the lines between them, as far as the checkpoint has them.
    """

    source: Source
    boxes: Tensor
    labels: Tensor
    scores: Tensor
    names: tuple[str, ...]
    threshold: float
    hidden: int
    masks: Tensor | None = None
    keypoints: Tensor | None = None
    keypoint_scores: Tensor | None = None
    skeleton: Skeleton = field(default_factory=Skeleton)

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detection]:
        for name, score, box in zip(self.names, self.scores.tolist(), self.boxes.tolist(), strict=True):
            yield Detection(name, score, tuple(box))

    def __repr__(self) -> str:
        found = ", ".join(f"{name} {score:.2f}" for name, score, _ in self)
        hidden = f", {self.hidden} below {self.threshold:g}" if self.hidden else ""
        return f"{self.source.name}: {count(len(self), 'box')}{hidden}{': ' if found else ''}{found}"

    def draw(self) -> Figure:
        """Draw the boxes on the image, with names and scores, and masks and keypoints."""
        categories = {label: (label, name) for label, name in zip(self.labels.tolist(), self.names, strict=True)}
        predicted = {"boxes": self.boxes, "labels": self.labels, "scores": self.scores}
        more = {"masks": self.masks, "keypoints": self.keypoints}
        predicted |= {key: value for key, value in more.items() if value is not None}
        sample = {"image": self.source.tensor(), "predicted": predicted}
        return draw_boxes(sample, categories, self.threshold, hidden=self.hidden, bones=self.skeleton.bones)


class DetectionPredictor(ImagePredictor[ObjectDetection | RegionProposal, Detections]):
    """A trained detector, or the paper's region-proposal network; see :meth:`load`."""

    kinds = (ObjectDetection, RegionProposal)
    formats = ("onnx",)
    moving = SIZED

    def __init__(self, task: ObjectDetection | RegionProposal, device: str | torch.device = "auto") -> None:
        super().__init__(task, device)
        self.skeleton = described_skeleton(task.describe_data().get("skeleton"))

    def predict(self, images: Images, threshold: float = 0.5) -> Detections | list[Detections]:
        """Return what is detected on images.

        Boxes, masks and keypoints are those that ``trainer.predict`` computes on a folder with the image, each image by
        itself. Files and Pillow images are turned as their EXIF orientation says, and boxes refer to the turned image;
        boxes of COCO refer to the stored pixels, see :class:`~lightning_coordconv.detection.CocoDetection`.

        Args:
            images: a file or a Pillow image, an array (H, W, C) of uint8, or a tensor (C, H, W) of uint8 or in [0, 1];
                or a folder, a list or a batch of these.
            threshold: lower scores are left out. torchvision's detectors leave out scores below their
                ``box_score_thresh`` or ``score_thresh`` themselves, by default 0.05 or 0.2.

        Returns:
            The detections on one image; of a folder, a list or a batch a list of them.

        Raises:
            FileNotFoundError: if there is no such file, or no image in a folder.
            OSError: if a file is no image or a damaged one.
            ValueError: for a wrong shape, dtype or range, a threshold outside [0, 1], or an image that the network does
                not take.
        """
        check_share(threshold=threshold)
        return self.predict_each(images, partial(self._detect, threshold))

    def read_names(self, described: Mapping[str, Any], classes: int | None = None) -> list[str]:
        """Return the names of the labels, with the background first."""
        categories = described.get("categories", [])
        pairs = isinstance(categories, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in categories)
        if not pairs or not all(isinstance(name, str) for _, name in categories):
            raise CheckpointError(f"the categories of the checkpoint must be pairs of id and name, got {categories!r}")
        outputs = getattr(self.task.net, "num_classes", None)
        if outputs is not None and len(categories) >= outputs:
            raise CheckpointError(
                f"the network has {outputs} classes, with the background, too few for the categories of the "
                f"checkpoint, {categories!r:.100}"
            )
        names = super().read_names({"class_names": [name for _, name in categories]})
        return ["background", *names] if names else []

    def metadata(self, size: Size | None) -> dict[str, Any]:
        """Return class names, how images are prepared and, if there are keypoints, their names and bones."""
        return super().metadata(size) | ({"skeleton": self.skeleton.describe()} if self.skeleton.names else {})

    def exportable(self, size: Size | None, images: Images | None = None) -> Exportable:
        """Return the detector from one image (C, H, W) in [0, 1] to ``boxes``, ``labels`` and ``scores``, traced.

        ``masks`` (n, H, W) are probabilities; ``keypoints`` (n, K, 3) are as the network returns them.
        """
        if size is None:
            raise ExportError(
                "a detector is exported for images of one size, --size HEIGHT WIDTH: a trace keeps the coordinates and "
                "the padding of one size, and would find other boxes in images of another; and torch.export does not "
                "support torchvision's non-maximum suppression"
            )
        outputs: tuple[str, ...] = ("boxes", "scores")
        if isinstance(self.task, ObjectDetection):
            outputs = ("boxes", "labels", "scores", *sorted(self.task.net_targets))
        batches, _ = self.examples(size, images)
        examples = tuple((batch[0],) for (batch,) in batches)
        module = _OneImage(copy.deepcopy(self.task).cpu(), outputs)
        return Exportable(
            module, examples, ("image",), outputs, {}, self.metadata(size), TOLERANCE,
            traced=True, context=partial(trace_one_size, module, examples[0][0]), align=_align,
        )  # fmt: skip

    def _detect(self, threshold: float, image: Tensor, source: Source) -> Detections:
        found = _predict(self.task, image)
        kept = found["scores"] >= threshold
        scores, boxes = found["scores"][kept].float().cpu(), found["boxes"][kept].float().cpu()
        order = scores.argsort(descending=True, stable=True)
        labelled = "labels" in found
        labels = (found["labels"][kept].cpu() if labelled else torch.ones(len(scores), dtype=torch.int64))[order]
        names = tuple(self.name_of(label) if labelled else PROPOSAL for label in labels.tolist())
        hidden = len(found["scores"]) - len(scores)
        more = {
            name: found[key][kept].cpu()[order]
            for name, key in (("masks", "masks"), ("keypoints", "keypoints"), ("keypoint_scores", "keypoints_scores"))
            if key in found
        }
        return Detections(
            source, boxes[order], labels, scores[order], names, threshold, hidden, **more, skeleton=self.skeleton
        )


class _OneImage(nn.Module):
    """Maps an image (C, H, W) to the named outputs of a task."""

    def __init__(self, task: ObjectDetection | RegionProposal, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.task = task
        self.outputs = outputs
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if isinstance(self.task, RegionProposal):
            found = _predict(self.task, image)
        else:
            (found,) = self.task.net([image])
        return tuple(found[name][:, 0] if name == "masks" else found[name] for name in self.outputs)


def _align(found: list[Tensor], expected: list[Tensor]) -> list[Tensor]:
    """Put detections in the order of the expected ones, if each of those has a nearest one that no other has."""
    if not len(found[0]):
        return found
    rows, wanted = (
        torch.cat([part.double().reshape(len(part), -1) for part in parts], dim=1) for parts in (found, expected)
    )
    order = torch.cdist(wanted, rows, p=float("inf")).argmin(1)
    return [part[order] for part in found] if len(order.unique()) == len(rows) else found


def _predict(task: ObjectDetection | RegionProposal, image: Tensor) -> dict[str, Tensor]:
    batch = {"image": image[None] if isinstance(task, RegionProposal) else [image]}
    (found,) = task.predict_step(batch, 0)
    return found


load = DetectionPredictor.load
