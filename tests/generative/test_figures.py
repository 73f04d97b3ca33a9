"""Tests of figures of generated images: grid, animation, and the files that a run leaves."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib import image
from PIL import Image

from lightning_coordconv.core.pictures import grid, save_gif, to_bytes, to_image
from lightning_coordconv.generative import CoordConvGenerator, GeneratedImages

CONFIGS = Path(__file__).parents[2] / "configs" / "generative"
SMALL = ("--data.count=32", "--data.eval_count=12", "--data.batch_size=16", "--trainer.enable_progress_bar=false",
         "--trainer.max_epochs=2")  # fmt: skip


def pixels(path):
    return torch.from_numpy(image.imread(path))[..., :3]


def test_grid_and_bytes():
    images = torch.stack([torch.full((3, 4, 4), value) for value in (-1.0, 0.0, 1.0, 2.0)])
    assert to_bytes(images)[:, 0, 0, 0].tolist() == [0, 128, 255, 255]
    laid_out = grid(images, columns=2)
    scale = laid_out.shape[-1] // (2 * 5 + 1)
    assert laid_out.shape == (3, 11 * scale, 11 * scale)
    centres = laid_out[0, 3 * scale :: 5 * scale, 3 * scale :: 5 * scale]
    assert centres.tolist() == [[0, 128], [255, 255]]


def test_animation_runs_to_and_fro(tmp_path):
    frames = [torch.full((3, 4, 4), value, dtype=torch.uint8) for value in (0, 100, 200)]
    save_gif(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as animation:
        shades = []
        for index in range(animation.n_frames):
            animation.seek(index)
            shades.append(animation.convert("RGB").getpixel((0, 0))[0])
    assert shades == [0, 100, 200, 100]


def test_the_grid_has_64_predictions_of_whatever_batches(tmp_path):
    writer = GeneratedImages()
    writer.folder = tmp_path
    trainer: Any = SimpleNamespace(world_size=1, global_rank=0, is_global_zero=True)
    task = SimpleNamespace(paths=lambda: torch.zeros(1, 2, 3, 4, 4))
    images = torch.rand(70, 3, 4, 4) * 2 - 1
    writer.write_on_epoch_end(trainer, task, [{"image": batch} for batch in images.split(20)], [])
    expected = to_image(grid(images[:64]))
    with Image.open(tmp_path / "grid.png") as found:
        assert found.tobytes() == expected.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(("config", "step"), [("small_coordconv", 4), ("small_vae_conv", 2)])
def test_a_run_leaves_pictures_and_predictions(cli, config, step):
    folder = cli("fit", "-c", CONFIGS / f"{config}.yaml", *SMALL) / "logs" / "generative" / config
    figures = folder / "version_0" / "figures"
    first, last = (f"samples_{number:06d}" for number in (step, 2 * step))  # a GAN has two steps a batch
    assert {path.name for path in figures.iterdir()} == {
        f"{first}.png", f"{last}.png", "mean.png", "positions.png", "interpolation.png", "interpolation.gif",
    }  # fmt: skip
    for name in (last, "mean", "positions", "interpolation"):
        assert pixels(figures / f"{name}.png").std() > 0.002, name
    assert not torch.equal(pixels(figures / f"{first}.png"), pixels(figures / f"{last}.png"))

    checkpoint = folder / "version_0" / "checkpoints" / "last.ckpt"
    cli("predict", "-c", CONFIGS / f"{config}.yaml", *SMALL, "--ckpt_path", checkpoint)
    made = folder / "version_1"
    images = sorted((made / "images").iterdir())
    assert [path.name for path in images] == [f"{i:05d}.png" for i in range(12)]
    with Image.open(made / "interpolation.gif") as animation:
        assert animation.n_frames == 2 * 16 - 2
    assert (made / "grid.png").is_file()

    if config == "small_coordconv":  # the images are the averaged generator's, of the latent vectors of the seed
        state = torch.load(checkpoint, weights_only=True)["state_dict"]
        net = CoordConvGenerator(8, 32, 16)
        net.load_state_dict(
            {key.removeprefix("average."): value for key, value in state.items() if key.startswith("average.")}
        )
        latents = torch.rand(12, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
        expected = torch.stack([(pixels(path).permute(2, 0, 1) * 2 - 1) for path in images])
        with torch.no_grad():
            assert (torch.tanh(net(latents)) - expected).abs().max() < 0.05  # computed in bfloat16
