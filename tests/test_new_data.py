"""Tests that tasks run on a new data set with only the keys they read, and that smoke-test options fit any data set."""

from inspect import signature

import pytest
import torch
import yaml

from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.rl import EnvironmentDataModule
from tests.test_architecture import DOMAINS
from tests.test_configs import CONFIGS, STEPS, smoke

BOXES = torch.tensor([[2.0, 3.0, 20.0, 24.0], [30.0, 8.0, 60.0, 40.0]])
SAMPLES = {
    "classification/digits_conv": {"image": torch.rand(1, 64, 64), "label": 2},
    "detection/proposals_conv": {"image": torch.rand(1, 64, 64), "boxes": BOXES},
    "detection/faster_rcnn_conv": {
        "image": torch.rand(1, 64, 64), "boxes": BOXES, "labels": torch.tensor([1, 3]), "image_id": 7,
    },
    "generative/bedrooms_conv": {"image": torch.rand(3, 64, 64)},
    "segmentation/masks_conv": {
        "image": torch.rand(3, 32, 32), "mask": torch.randint(2, (32, 32)), "path": "a.png",
        "origin": torch.tensor([0, 0]), "size": torch.tensor([32, 32]),
    },
}  # fmt: skip
"""A sample for the task of a config, with the keys that the task reads and no others."""


class NewDataModule(BaseDataModule):
    """The same sample 4 times in each split; every attribute is the default of the base class."""

    def __init__(self, config: str, batch_size: int = 2, eval_batch_size: int | None = None, seed: int = 0) -> None:
        super().__init__(batch_size, eval_batch_size, seed=seed)
        self.sample = SAMPLES[config]
        self.sample_keys = frozenset(self.sample)

    def make_dataset(self, split):
        return [self.sample] * 4


@pytest.mark.slow
@pytest.mark.parametrize("config", SAMPLES)
def test_every_task_runs_on_samples_that_have_its_keys(config, cli, tmp_path):
    content = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text())
    content["data"] = {"class_path": f"{__name__}.NewDataModule", "init_args": {"config": config}}
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(content))
    options = [option for option in smoke(config) if not option.startswith("--data")]
    cli("fit", "-c", "new.yaml", *STEPS, *options)
    last = tmp_path / "logs" / "new" / "version_0" / "checkpoints" / "last.ckpt"
    cli("predict", "-c", "new.yaml", *STEPS, *options, "--ckpt_path", last, "--return_predictions=false")


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("name", ["new", "new_conv", "new_coordconv", "a_new_one"])
def test_a_new_config_gets_only_options_that_all_data_modules_of_its_domain_have(domain, name):
    """An option of one data set in the pattern of a whole domain would end the smoke test of the next one."""
    base = EnvironmentDataModule if domain == "rl" else BaseDataModule
    known = {f"--data.{option}" for option in signature(base).parameters}
    known |= {"--model.total_timesteps"} if domain == "rl" else set()
    assert {option.partition("=")[0] for option in smoke(f"{domain}/{name}")} <= known
