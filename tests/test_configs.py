"""Every shipped config: fit a few steps, test, and come back from the checkpoint."""

import pydoc
from pathlib import Path

import pytest
import torch
import yaml

CONFIGS = Path(__file__).parents[1] / "configs"
PRESETS = CONFIGS / "presets"
ALL = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent != PRESETS)
STEPS = ("--trainer.max_steps=2", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1",
         "--trainer.limit_predict_batches=1", "--trainer.check_val_every_n_epoch=null",
         "--trainer.val_check_interval=1", "--trainer.enable_progress_bar=false",
         "--trainer.num_sanity_val_steps=0")  # fmt: skip


def name(path: Path) -> str:
    return path.relative_to(CONFIGS).with_suffix("").as_posix()


def extra(path: Path, request: pytest.FixtureRequest) -> list[str]:
    """What a config needs from its user, a folder of images, and what makes these quick."""
    if path.stem.startswith("coco"):
        files = [f"--data.{key}={value}" for split in ("train", "val")
                 for key, value in ((f"{split}_annotations", "boxes.json"), (f"{split}_images", "."))]  # fmt: skip
        small = {"name": "fasterrcnn_mobilenet_v3_large_320_fpn", "weights": "", "num_classes": 6,
                 "options": "{min_size: 64, max_size: 96}"}  # fmt: skip
        net = [f"--model.net.init_args.{key}={value}" for key, value in small.items()]
        return ["--data.root", request.getfixturevalue("photographs"), "--data.num_workers=0", *files, *net]
    if path.stem.startswith("imagenet"):
        quick = ["--data.image_size", "32", "--data.num_workers", "0", "--model.net.init_args.num_classes", "2"]
        return ["--data.root", request.getfixturevalue("image_folder"), *quick]
    if path.parent.name == "detection":
        return ["--data.num_images", "32", "--data.num_eval_images", "4"]
    if path.parent.name == "generative":
        return generative(path, request)
    return []


def agents(path: Path) -> list[str]:
    """Few environments, short games and rollouts."""
    quick = ["--data.n_envs=2", "--data.eval_episodes=1", "--model.total_timesteps=20"]
    quick += ["--data.env_kwargs={max_num_frames_per_episode: 200}"] if "find_and_touch" not in path.stem else []
    return quick + (["--model.n_steps=8", "--model.batch_size=8"] if path.stem.startswith("ppo") else [])


def generative(path: Path, request: pytest.FixtureRequest) -> list[str]:
    """Few images and narrow networks; photographs for want of LSUN."""
    networks = ("encoder", "decoder") if "vae" in path.stem else ("generator", "discriminator")
    quick = ["--data.batch_size=2", *(f"--model.{network}.init_args.width=2" for network in networks)]
    if path.stem.startswith("bedrooms"):
        folder = request.getfixturevalue("image_folder")
        quick += ["--data.num_workers=0", "--data.eval_count=2"]
        return ["--data=UnlabelledImagesDataModule", f"--data.root={folder}", *quick]
    return ["--data.count=8", "--data.eval_count=4", *quick]


@pytest.mark.parametrize("path", ALL, ids=name)
def test_logs_go_where_the_config_says(path):
    config = yaml.safe_load(path.read_text())
    assert config["trainer"]["logger"]["init_args"] == {"save_dir": "logs", "name": name(path)}
    assert path.read_text().startswith("# ")


@pytest.mark.slow
@pytest.mark.parametrize("path", ALL, ids=name)
def test_config_runs(path, cli, capsys, request):
    more = agents(path) if path.parent.name == "rl" else ["--data.eval_batch_size=4", *extra(path, request)]
    folder = cli("fit", "-c", path, *STEPS, *more) / "logs" / name(path)
    assert "test/" in capsys.readouterr().out
    assert (folder / "version_0" / "summary.json").is_file()
    checkpoint = folder / "version_0" / "checkpoints" / "last.ckpt"
    cli("test", "-c", path, *STEPS, *more, "--ckpt_path", checkpoint)
    class_path = yaml.safe_load(path.read_text())["model"]["class_path"]
    task = pydoc.locate(class_path)
    restored = task.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    for key, value in restored.state_dict().items():
        assert torch.equal(value, saved[key]), key
