"""Metrics: COCO's average precision and recall of boxes, masks and keypoints, over the images of all ranks."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.detection import MeanAveragePrecision

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.ranks import gathered

PERSON_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
)  # fmt: skip
"""How far annotators of COCO's 17 keypoints of a person are apart, as a share of the root of its area (pycocotools)."""
BOX_PREFIX = "bbox_"


def require_pycocotools() -> None:
    """Refuse to go on without the package that computes COCO's metrics.

    Raises:
        ModuleNotFoundError: if pycocotools is not installed, with the command that installs it.
    """
    with extra("detection", "COCO's metrics"):
        import pycocotools  # noqa: F401


class CocoAveragePrecision(CheckedArguments, MeanAveragePrecision):
    """COCO's twelve numbers, by the names of torchmetrics' metric, with the values of pycocotools, also over ranks.

    It differs from torchmetrics' metric in two things. The thresholds are not rounded to single precision, which misses
    recalls that are reached exactly, and is seen in the third digit on a small data set. And ranks may have seen
    unequal numbers of images.

    Args:
        masks: also compare ``masks`` (n, H, W), bool or uint8, which gives twelve numbers ``segm_map`` and so on.

    Raises:
        ModuleNotFoundError: if pycocotools is not installed.
    """

    def __init__(self, masks: bool = False) -> None:
        overlaps, recalls = np.linspace(0.5, 0.95, 10).tolist(), np.linspace(0.0, 1.0, 101).tolist()
        # With masks only, torchmetrics would leave out what is found in images without a true mask.
        kinds: tuple[Literal["bbox", "segm"], ...] = ("bbox", "segm") if masks else ("bbox",)
        require_pycocotools()
        super().__init__(iou_type=kinds, iou_thresholds=overlaps, rec_thresholds=recalls, sync_on_compute=False)

    def compute(self) -> dict[str, Tensor]:
        """Return the numbers of all images of all ranks, on every rank."""
        return self._values()

    def precision_recall(self) -> dict[int, Tensor]:
        """Return by label the precision (101,) at the recalls 0, 0.01, ..., 1, at an IoU of 0.5, of all ranks' images.

        Labels without a true box are left out. The area below a curve is the average precision of its class. With masks
        the curves are still those of boxes.
        """
        self.extended_summary = True
        try:
            values = self._values()  # compute() would keep them
        finally:
            self.extended_summary = False
        curves = values["precision"][0, :, :, 0, -1].T  # IoU, recall, class, area, number of detections
        labels = values["classes"].reshape(-1).tolist()
        return {int(label): curve for label, curve in zip(labels, curves, strict=True) if (curve >= 0).all()}

    def _values(self) -> dict[str, Tensor]:
        with images_of_all_ranks(self):
            values = super().compute()
        return {name.removeprefix(BOX_PREFIX): value for name, value in values.items()}


class KeypointAveragePrecision(Metric):
    """COCO's ten numbers of keypoints, with the values of pycocotools, of the images of all ranks.

    Two objects overlap by their object keypoint similarity (OKS): the mean over labelled keypoints of
    exp(-d^2 / (2 area (2 sigma)^2)), where d is the distance of the found keypoint from the true one. At most 20
    detections of a class in an image count. Names are ``keypoints_map`` (over the OKS thresholds 0.5 to 0.95; higher is
    better, also for the others), ``keypoints_map_50``, ``_75``, ``_medium`` and ``_large``, and the same with ``mar``.

    Args:
        sigmas: K, one for each keypoint, as a share of the root of the object's area; COCO's of a person by default.

    Raises:
        ModuleNotFoundError: if pycocotools is not installed.
        ValueError: if there are no sigmas, or one is not positive.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    names = tuple(
        f"keypoints_{kind}{part}" for kind in ("map", "mar") for part in ("", "_50", "_75", "_medium", "_large")
    )

    def __init__(self, sigmas: Sequence[float] = PERSON_SIGMAS) -> None:
        super().__init__(sync_on_compute=False)
        require_pycocotools()
        if not sigmas or not all(sigma > 0 for sigma in sigmas):
            raise ValueError(f"sigmas must be positive, one for each keypoint, got {list(sigmas)}")
        self.sigmas = tuple(sigmas)
        for key in ("keypoints", "labels", "scores"):
            self.add_state(f"found_{key}", [], dist_reduce_fx=None)
        for key in ("keypoints", "labels", "boxes", "area", "iscrowd"):
            self.add_state(f"true_{key}", [], dist_reduce_fx=None)

    def update(self, preds: Sequence[Mapping[str, Tensor]], target: Sequence[Mapping[str, Tensor]]) -> None:
        """Add a batch.

        Args:
            preds: for each image ``keypoints`` (n, K, 2 or 3), ``labels`` (n,) and ``scores`` (n,).
            target: for each image ``keypoints`` (m, K, 3) with visibilities, ``labels``, ``boxes``, ``area`` and
                ``iscrowd``.

        Raises:
            ValueError: if there are not as many images in both, or not as many keypoints as sigmas.
        """
        if len(preds) != len(target):
            raise ValueError(f"there are keypoints of {len(preds)} images, but true ones of {len(target)}")
        for kind, images in (("found", preds), ("true", target)):
            for image in images:
                if image["keypoints"].shape[1] != len(self.sigmas):
                    raise ValueError(
                        f"there are {len(self.sigmas)} sigmas, but {image['keypoints'].shape[1]} {kind} keypoints"
                    )
                for key in (name.removeprefix(f"{kind}_") for name in self.metric_state if name.startswith(kind)):
                    getattr(self, f"{kind}_{key}").append(image[key].detach())

    def compute(self) -> dict[str, Tensor]:
        """Return the numbers of all images of all ranks, on every rank; -1 where there is no such object."""
        with images_of_all_ranks(self):
            state = {
                name: [value.cpu().double().numpy() for value in values] for name, values in self.metric_state.items()
            }
        return dict(zip(self.names, self._evaluate(state), strict=True))

    def _evaluate(self, state: Mapping[str, list[np.ndarray]]) -> Tensor:
        from pycocotools.cocoeval import COCOeval

        labels = sorted({int(label) for key in ("true_labels", "found_labels") for own in state[key] for label in own})
        if not labels:
            return torch.full((len(self.names),), -1.0)
        with redirect_stdout(io.StringIO()):  # it prints a table
            evaluation = COCOeval(_coco(state, "true", labels), _coco(state, "found", labels), iouType="keypoints")
            evaluation.params.kpt_oks_sigmas = np.array(self.sigmas)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return torch.tensor(evaluation.stats, dtype=torch.float32)


def _coco(state: Mapping[str, list[np.ndarray]], kind: str, labels: Sequence[int]) -> Any:
    """Return the true or the found keypoints of all images as an object of pycocotools."""
    from pycocotools.coco import COCO

    images = range(len(state[f"{kind}_labels"]))
    entries = [entry for image in images for entry in (_true if kind == "true" else _found)(state, image)]
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in images],
        "categories": [{"id": label} for label in labels],
        "annotations": [entry | {"id": number} for number, entry in enumerate(entries, start=1)],
    }
    coco.createIndex()
    return coco


def _true(state: Mapping[str, list[np.ndarray]], image: int) -> Iterator[dict[str, Any]]:
    columns = (state[f"true_{key}"][image] for key in ("keypoints", "labels", "boxes", "area", "iscrowd"))
    for points, label, (x1, y1, x2, y2), area, crowd in zip(*columns, strict=True):
        yield {
            "image_id": image, "category_id": int(label), "keypoints": points.ravel(), "area": area,
            "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": int(crowd), "num_keypoints": int((points[:, 2] > 0).sum()),
        }  # fmt: skip


def _found(state: Mapping[str, list[np.ndarray]], image: int) -> Iterator[dict[str, Any]]:
    columns = (state[f"found_{key}"][image] for key in ("keypoints", "labels", "scores"))
    for points, label, score in zip(*columns, strict=True):
        yield {
            "image_id": image, "category_id": int(label), "keypoints": points.ravel(), "score": score,
            "area": np.ptp(points[:, :2], axis=0).prod(),  # of the box around them, as pycocotools has it
        }  # fmt: skip


@contextmanager
def images_of_all_ranks(metric: Metric) -> Iterator[None]:
    """Return a context in which a metric has the states of all ranks; they are lists with an entry for each image.

    Images are in the order that they were dealt out in, which decides between equal scores.
    """
    own: dict[str, Any] = dict(metric.metric_state)  # lists
    parts = gathered({name: _moved(values, torch.device("cpu")) for name, values in own.items()})
    try:
        for name in own:
            rounds = range(max(len(part[name]) for part in parts))
            dealt = [part[name][number] for number in rounds for part in parts if number < len(part[name])]
            setattr(metric, name, _moved(dealt, metric.device))
        yield
    finally:
        for name, values in own.items():
            setattr(metric, name, values)


def _moved(values: list[Any], device: torch.device) -> list[Any]:
    return [value.to(device) if isinstance(value, Tensor) else value for value in values]
