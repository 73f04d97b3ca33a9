"""Tests that GANs refuse bad arguments, networks and data, and that photographs train with their own config only."""

import json

import pytest
from torch import nn

from lightning_coordconv.generative import (
    GAN,
    ConvDiscriminator,
)
from tests.generative.gans import CONFIG, data, networks, task, trainer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "wasserstein"}, "loss must be one of non-saturating, hinge, least-squares, got 'wasserstein'"),
        ({"binary_latents": 5}, "binary_latents must be from 0 to latent_size, 4, got 5"),
        ({"latent_size": 5}, r"the generator does not take vectors of shape \(1, 5\): expected vectors \(B, 4\)"),
        ({"discriminator": ConvDiscriminator(32, 2)}, r"discriminator does not take images of shape \(1, 3, 16, 16\)"),
        ({"discriminator": nn.Flatten()}, r"must return one logit an image, \(1,\), got \(1, 768\)"),
        ({"features": nn.Linear(3, 2)}, r"the feature network does not take images of shape \(1, 3, 16, 16\)"),
        ({"generator_steps": 0}, "generator_steps must be at least 1, got 0"),
        ({"r1": -1.0}, "r1 must be finite and not negative, got -1.0"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\), got 1.0"),
        ({"discriminator": nn.Sequential(nn.Flatten(), nn.Linear(768, 1), nn.Flatten(0)), "feature_matching": 1.0},
         "feature matching needs a method features, which Sequential lacks"),
    ],
)  # fmt: skip
def test_bad_arguments(arguments, message):
    generator, discriminator = networks()
    with pytest.raises(ValueError, match=message):
        GAN(**{"generator": generator, "discriminator": discriminator, "latent_size": 4} | arguments)


def test_data_of_another_size_is_refused(tmp_path):
    message = r"the data has images \(3, 32, 32\), but the generator makes \(3, 16, 16\): give both the same size"
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, max_epochs=1).fit(task(), data(canvas=32))


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
def test_pictures_have_a_recipe_and_the_recipe_for_objects_refuses_them(cli, capsys):
    quick = ["--data.root=images", "--data.num_workers=0", "--data.eval_count=2", "--data.batch_size=2",
             "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]  # fmt: skip
    objects = ["--data=UnlabelledImagesDataModule", "--data.image_size=32", *quick]
    with pytest.raises(SystemExit, match="no real image has a blue and a red object of radius 5"):
        cli("fit", "-c", "generative/small_coordconv", *objects)
    narrow = [f"--model.{name}.init_args.width=2" for name in ("generator", "discriminator")]
    folder = cli("fit", "-c", "generative/bedrooms_coordconv_pictures", *quick, *narrow)
    assert "test/fid" in capsys.readouterr().out
    (summary,) = folder.rglob("summary.json")
    (validation,) = json.loads(summary.read_text())["curve"]
    assert validation["val/fid"] > 0
    assert not any(name.startswith(("val/kl", "val/entropy")) for name in validation)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.latent_size=9"], "the generator does not take vectors of shape (1, 9)"),
        (["--model.generator.init_args.canvas=16"], "the discriminator does not take images of shape (1, 3, 16, 16)"),
        (["--data.radius=9"], "canvas must be at least 44 for two objects of radius 9, got 32"),
    ],
)
def test_bad_input_on_the_command_line(cli, capsys, arguments, message):
    with pytest.raises(SystemExit):
        cli("fit", "-c", CONFIG, *arguments)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
