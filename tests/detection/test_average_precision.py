"""Tests of COCO's average precision of masks against pycocotools, and of keypoints against loops, also on two ranks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from lightning_coordconv.detection import (
    CocoAveragePrecision,
    CocoDetectionDataModule,
    KeypointAveragePrecision,
    ObjectDetection,
)
from lightning_coordconv.detection.average_precision import PERSON_SIGMAS
from tests.classification.test_task import quiet
from tests.detection.instances import write_shapes
from tests.detection.test_task import NAMES, coco_numbers
from tests.run_lengths import compressed, runs_of

Scene = tuple[list[dict[str, torch.Tensor]], list[dict[str, torch.Tensor]]]
SIGMAS = (0.05, 0.1, 0.2)


def discs(centres: torch.Tensor, radius: torch.Tensor, side: int = 64) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    cx, cy = centres[:, 0, None, None], centres[:, 1, None, None]
    return (x - cx) ** 2 + (y - cy) ** 2 <= radius[:, None, None] ** 2


def mask_scene(images: int = 8) -> Scene:
    """Discs and, shifted by a few pixels, what is found; one image has no true mask, another nothing found."""
    generator = torch.Generator().manual_seed(0)
    truth, found = [], []
    for _ in range(images):
        centres, radius = torch.rand(4, 2, generator=generator) * 60, torch.rand(4, generator=generator) * 16 + 3
        labels = torch.randint(1, 3, (4,), generator=generator)
        shifted = centres + torch.randn(4, 2, generator=generator) * 2
        masks, seen = discs(centres, radius), discs(shifted, radius)
        truth.append({
            "masks": masks.to(torch.uint8), "labels": labels, "area": masks.sum((1, 2)).float(),
            "iscrowd": torch.tensor([0, 0, 0, 1]), "boxes": torch.cat([centres, centres + 5], 1),
        })  # fmt: skip
        found.append({
            "masks": seen, "labels": labels, "scores": torch.rand(4, generator=generator),
            "boxes": torch.cat([shifted, shifted + 5], 1),
        })  # fmt: skip
    truth.append({key: values[:0] for key, values in truth[0].items()})
    found.append({key: values.clone() for key, values in found[0].items()})
    truth.append({key: values.clone() for key, values in truth[1].items()})
    found.append({key: values[:0] for key, values in found[0].items()})
    return truth, found


def pycocotools_says(truth: list[dict[str, torch.Tensor]], found: list[dict[str, torch.Tensor]]) -> list[float]:
    """COCO's twelve numbers of masks, from files in COCO's format."""

    def entry(image: int, label: torch.Tensor, mask: torch.Tensor) -> dict[str, object]:
        encoded = {"size": list(mask.shape), "counts": compressed(runs_of(mask.numpy()))}
        return {"image_id": image, "category_id": int(label), "segmentation": encoded}

    annotations = [
        entry(image, label, mask) | {"id": 100 * image + number + 1, "area": float(area), "iscrowd": int(crowd)}
        for image, own in enumerate(truth)
        for number, (label, mask, area, crowd) in enumerate(
            zip(own["labels"], own["masks"], own["area"], own["iscrowd"], strict=True)
        )
    ]
    results = [
        entry(image, label, mask) | {"score": float(score)}
        for image, own in enumerate(found)
        for label, mask, score in zip(own["labels"], own["masks"], own["scores"], strict=True)
    ]
    images = [{"id": image, "height": 64, "width": 64} for image in range(len(truth))]
    return coco_numbers(images, annotations, results, "segm", 2)


def test_masks_are_measured_as_pycocotools_does():
    truth, found = mask_scene()
    metric = CocoAveragePrecision(masks=True)
    metric.update(found[:3], truth[:3])
    metric.update(found[3:], truth[3:])
    values = metric.compute()
    expected = pycocotools_says(truth, found)
    assert 0.2 < expected[0] < 0.9
    assert [values[f"segm_{name}"].item() for name in NAMES] == pytest.approx(expected, abs=1e-6)
    boxes = CocoAveragePrecision()
    boxes.update(found, truth)
    alone = boxes.compute()
    assert {name: values[name].item() for name in NAMES} == {name: alone[name].item() for name in NAMES}
    assert metric.precision_recall().keys() == boxes.precision_recall().keys() == {1, 2}


def test_what_is_found_in_an_image_without_a_true_mask_counts():
    mask = discs(torch.tensor([[30.0, 30.0]]), torch.tensor([9.0]))
    box, label = torch.tensor([[21.0, 21, 40, 40]]), torch.tensor([1])
    true = {"masks": mask, "boxes": box, "labels": label}
    right = {**true, "scores": torch.tensor([0.5])}
    nothing = {key: values[:0] for key, values in true.items()}
    for scores, expected in ((0.4, 1.0), (0.6, 0.5)):  # a false detection below the right one, and above it
        metric = CocoAveragePrecision(masks=True)
        metric.update([right, {**right, "scores": torch.tensor([scores])}], [true, nothing])
        assert metric.compute()["segm_map"].item() == pytest.approx(expected)


def keypoint_scene(images: int = 6) -> Scene:
    """Objects of medium and large area, and keypoints near them; some keypoints, and one object, are not labelled."""
    generator = torch.Generator().manual_seed(0)
    truth, found = [], []
    for image in range(images):
        points = torch.rand(5, 3, 2, generator=generator) * 200
        visibility = torch.randint(0, 3, (5, 3), generator=generator).float()
        visibility[:, 0], visibility[image % 5] = 2, 0 if image == 2 else 2
        area = torch.tensor([2000.0, 9000, 12000, 40000, 3000])
        labels = torch.tensor([1, 1, 1, 2, 2])
        corner = points.amin(1)
        truth.append({
            "keypoints": torch.cat([points, visibility[..., None]], 2) * (visibility[..., None] > 0), "labels": labels,
            "area": area, "iscrowd": torch.zeros(5), "boxes": torch.cat([corner, corner + 60], 1),
        })  # fmt: skip
        near = points + torch.randn(5, 3, 2, generator=generator) * 8
        near = torch.cat([near, torch.ones(5, 3, 1)], 2)
        found.append({
            "keypoints": torch.cat([near, near.flip(0)[:2]]), "labels": torch.cat([labels, labels[:2]]),
            "scores": torch.rand(7, generator=generator),
        })  # fmt: skip
    truth.append({key: values[:0] for key, values in truth[0].items()})
    found.append({key: values[:2] for key, values in found[0].items()})
    return truth, found


def similarity(found: np.ndarray, true: np.ndarray, area: float, box: np.ndarray) -> float:
    """Object keypoint similarity; of an object without labels, that of the distance from its box, twice as large."""
    labelled = true[:, 2] > 0
    if labelled.any():
        distance = np.linalg.norm(found[:, :2] - true[:, :2], axis=1)
    else:
        size = box[2:] - box[:2]
        outside = np.maximum(0, box[:2] - size - found[:, :2]) + np.maximum(0, found[:, :2] - box[:2] - 2 * size)
        distance, labelled = np.linalg.norm(outside, axis=1), np.ones(len(found), bool)
    exponent = distance**2 / (2 * area * (2 * np.array(SIGMAS)) ** 2)
    return float(np.exp(-exponent)[labelled].mean())


def average_precision(truth: list[dict], found: list[dict], label: int, threshold: float) -> tuple[float, float]:
    """Average precision and recall of a class: the best detections take the most similar object that is left."""
    rows, count = [], 0
    for true, own in zip(truth, found, strict=True):
        objects = [number for number, name in enumerate(true["labels"].tolist()) if name == label]
        ignored = {number for number in objects if not (true["keypoints"][number, :, 2] > 0).any()}
        count += len(objects) - len(ignored)
        taken: set[int] = set()
        for number in own["scores"].argsort(descending=True).tolist():
            if own["labels"][number] != label:
                continue
            likeness = {
                other: similarity(own["keypoints"][number].numpy().astype(float),
                                  true["keypoints"][other].numpy().astype(float), float(true["area"][other]),
                                  true["boxes"][other].numpy())
                for other in objects if other not in taken
            }  # fmt: skip
            good = {other: value for other, value in likeness.items() if value >= threshold}
            labelled = {other: value for other, value in good.items() if other not in ignored}
            choice = labelled or good
            best = max(choice, key=choice.__getitem__) if choice else None
            if best is not None:
                taken.add(best)
            if best not in ignored:
                rows.append((float(own["scores"][number]), best is not None))
    rows.sort(key=lambda row: -row[0])
    hits = np.cumsum([hit for _, hit in rows])
    precision = np.maximum.accumulate((hits / np.arange(1, len(rows) + 1))[::-1])[::-1]
    recall = hits / count
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.where(at < len(rows), precision[at.clip(max=len(rows) - 1)], 0).mean()), float(recall[-1])


def test_keypoints_are_measured_as_numpy_does():
    truth, found = keypoint_scene()
    metric = KeypointAveragePrecision(SIGMAS)
    metric.update(found[:2], truth[:2])
    metric.update(found[2:], truth[2:])
    values = {name: value.item() for name, value in metric.compute().items()}
    thresholds = np.linspace(0.5, 0.95, 10)
    table = np.array([[average_precision(truth, found, label, t) for label in (1, 2)] for t in thresholds])
    assert 0.2 < table[..., 0].mean() < 0.9
    precision, recall = table.mean(1).T
    assert values["keypoints_map"] == pytest.approx(precision.mean(), abs=1e-6)
    assert values["keypoints_map_50"] == pytest.approx(precision[0], abs=1e-6)
    assert values["keypoints_map_75"] == pytest.approx(precision[5], abs=1e-6)
    assert values["keypoints_mar"] == pytest.approx(recall.mean(), abs=1e-6)
    assert values["keypoints_mar_50"] == pytest.approx(recall[0], abs=1e-6)
    assert values["keypoints_mar_75"] == pytest.approx(recall[5], abs=1e-6)


def test_a_person_has_coco_s_sigmas():
    from pycocotools.cocoeval import Params

    assert pytest.approx(Params("keypoints").kpt_oks_sigmas.tolist()) == PERSON_SIGMAS
    assert KeypointAveragePrecision().sigmas == PERSON_SIGMAS


def test_perfect_keypoints_and_none_at_all():
    truth, found = keypoint_scene(2)
    perfect = [
        {"keypoints": true["keypoints"], "labels": true["labels"], "scores": torch.ones(len(true["labels"]))}
        for true in truth
    ]
    metric = KeypointAveragePrecision(SIGMAS)
    metric.update(perfect, truth)
    assert metric.compute()["keypoints_map"] == metric.compute()["keypoints_mar_75"] == 1
    metric.reset()
    metric.update([{key: values[:0] for key, values in own.items()} for own in found], truth)
    assert metric.compute()["keypoints_map"] == 0
    metric.reset()
    metric.update(found[-1:], truth[-1:])
    assert all(value == -1 for value in metric.compute().values())


def test_wrong_numbers_are_named():
    truth, found = keypoint_scene(2)
    with pytest.raises(ValueError, match="keypoints of 1 images, but true ones of 3"):
        KeypointAveragePrecision(SIGMAS).update(found[:1], truth)
    with pytest.raises(ValueError, match="there are 17 sigmas, but 3 found keypoints"):
        KeypointAveragePrecision().update(found, truth)
    for sigmas in ([], [0.1, 0.0]):
        with pytest.raises(ValueError, match=r"sigmas must be positive, one for each keypoint, got \["):
            KeypointAveragePrecision(sigmas)


class NearTruth(nn.Module):
    """A detector that remembers each image, and finds its objects a few pixels from where they are."""

    num_keypoints = 3

    def __init__(self, data: CocoDetectionDataModule) -> None:
        super().__init__()
        self.targets = frozenset(data.targets)
        self.weight = nn.Parameter(torch.ones(1))
        generator = torch.Generator().manual_seed(0)
        self.answers = {}
        for sample in (data.dataset("val")[index] for index in range(len(data.dataset("val")))):
            shift = torch.randint(-2, 3, (2,), generator=generator)
            found = {"boxes": sample["boxes"] + shift.repeat(2), "labels": sample["labels"]}
            if "masks" in sample:
                found["masks"] = sample["masks"].roll(shift.tolist(), (2, 1))[:, None].float()
            if "keypoints" in sample:
                found["keypoints"] = sample["keypoints"] + torch.cat([shift, torch.zeros(1)])
            self.answers[self.key(sample["image"])] = found | {"scores": torch.rand(1, generator=generator)}

    @staticmethod
    def key(image: torch.Tensor) -> str:
        return f"{image.double().sum():.6f}"

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [dict(self.answers[self.key(image)]) for image in images]


@pytest.mark.slow
def test_two_ranks_measure_what_one_does(tmp_path: Path):
    """Eleven images, so that the ranks have unequal shares."""
    folder = write_shapes(tmp_path, ((48, 48), (64, 48), (48, 56)) * 3 + ((60, 60),) * 2)
    data = CocoDetectionDataModule(str(folder), "shapes.json", "shapes.json", targets=["masks", "keypoints"],
                                   eval_batch_size=4, num_workers=0)  # fmt: skip
    results = []
    for ranks in ({"devices": 1}, {"devices": 2, "strategy": "ddp_fork"}):
        task = ObjectDetection(NearTruth(data), keypoint_sigmas=[0.1] * 3)
        trainer: Trainer = quiet(tmp_path, logger=CSVLogger(tmp_path, "", str(ranks["devices"])), **ranks)
        results += trainer.test(task, data, verbose=False)
    alone, together = results
    for name in ("map", "segm_map", "keypoints_map", "keypoints_mar"):
        assert 0.1 < alone[f"test/{name}"] < 1, name
    assert together == pytest.approx(alone, abs=1e-6, nan_ok=True)
