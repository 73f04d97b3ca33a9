"""Tests that classifiers train and update metrics without the CPU waiting for the device, and that a wait is found."""

import pytest
import torch

from lightning_coordconv.classification import (
    ImageClassification,
    ImageFolderDataModule,
    PlacedDigitsDataModule,
    PooledClassifier,
    ResNetClassifier,
)
from tests.device_reads import device_reads
from tests.step_reads import ALLOWED, reads_of_fit


@pytest.mark.slow
@pytest.mark.parametrize("coordinates", [False, True])
def test_a_training_step_on_digits_does_not_wait_for_the_device(coordinates, tmp_path):
    task, data = ImageClassification(PooledClassifier(10, coordinates)), PlacedDigitsDataModule("mixed", copies=1)
    found = reads_of_fit(task, data, tmp_path)
    assert found <= set(ALLOWED), found - set(ALLOWED)


@pytest.mark.slow
def test_a_training_step_on_images_does_not_wait_for_the_device(tmp_path, image_folder):
    task = ImageClassification(
        ResNetClassifier("resnet18", 2, coordinates=True), lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    )
    data = ImageFolderDataModule(str(image_folder), image_size=32, batch_size=2, num_workers=0)
    found = reads_of_fit(task, data, tmp_path)
    assert found <= set(ALLOWED), found - set(ALLOWED)


@pytest.mark.slow
def test_a_read_of_the_labels_would_be_found(tmp_path):
    class Reading(ImageClassification):
        def evaluate(self, batch):
            assert int(batch["label"].max()) >= 0
            return super().evaluate(batch)

    found = reads_of_fit(Reading(PooledClassifier(10)), PlacedDigitsDataModule(copies=1), tmp_path)
    assert found - set(ALLOWED)


def test_metrics_are_updated_without_a_read():
    task = ImageClassification(PooledClassifier(10))
    preds, target = torch.randn(4, 10), torch.tensor([0, 3, 9, 1])
    with device_reads() as found:
        for _ in range(2):
            task.train_metrics.update(preds, target)
            task.losses["train/loss"].update(preds.mean(), 4)
    assert not found
