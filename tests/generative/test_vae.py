"""Tests of the VAE task: evidence lower bound, validation by any batch size, NaN, learning, resuming, bad arguments."""

import copy

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.generative import VAE, ConvEncoder, CoordConvGenerator, SortOfClevrDataModule


def task(**arguments):
    options = {"optimizer": lambda weights: torch.optim.Adam(weights, lr=0.005), "latent_size": 4, "object_radius": 3}
    return VAE(ConvEncoder(4, 16, 4), CoordConvGenerator(4, 16, 4), **options | arguments)


def data():
    return SortOfClevrDataModule(count=320, eval_count=8, canvas=16, radius=3, batch_size=32)


def quiet(folder, **arguments):
    return Trainer(
        accelerator="cpu", default_root_dir=folder, logger=False, enable_checkpointing=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, **arguments,
    )  # fmt: skip


def test_the_bound_by_distributions():
    module = task(beta=0.5).eval().double()  # probabilities near 0 and 1 are rounded away in float32
    real = data().dataset("val").__getitems__(list(range(6)))["image"].double()
    noise = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, log_variance = module.encoder(real)
    posterior = Normal(mean, (0.5 * log_variance).exp())
    latent = mean + posterior.scale * noise
    probability = (1 + torch.tanh(module.generator(latent))) / 2
    error = -Bernoulli(probability).log_prob((real > 0).double()).flatten(1).sum(1).mean()
    rate = kl_divergence(posterior, Normal(0.0, 1.0)).sum(1).mean()
    found = module.bound(real, noise)
    torch.testing.assert_close(found["reconstruction"], error, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found["rate"], rate, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["loss"], error + 0.5 * rate, rtol=1e-4, atol=1e-3)


def test_a_validation_does_not_depend_on_the_size_of_its_batches(tmp_path):
    module = task()
    results = []
    for size in (3, 8):
        images = data()
        images.eval_batch_size = size
        (result,) = quiet(tmp_path).validate(module, images, verbose=False)
        results.append(result)
    assert results[0] == pytest.approx(results[1], rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("command", ["validate", "test"])
def test_images_of_nan_have_metrics_of_nan(command, tmp_path):
    module = task()
    nn.init.constant_(list(module.generator.parameters())[-1], torch.nan)
    (result,) = getattr(quiet(tmp_path), command)(module, data(), verbose=False)
    of_data = {name for name in result if "/data_" in name}
    finite = {name for name, value in result.items() if value == value}
    assert len(of_data) == 4
    assert finite == of_data | {f"{command.replace('validate', 'val')}/rate"}


class Images(BaseDataModule):
    def __init__(self, samples):
        super().__init__(num_workers=0)
        self.samples = samples

    def make_dataset(self, split):
        return self.samples


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-3, 0), (0, float("nan"))])
def test_images_of_another_range_are_refused(tmp_path, low, high):
    image = torch.full((3, 16, 16), float(low))
    image[0, 0, 0] = high
    with pytest.raises(ValueError, match=rf"images in \[-1, 1\], got values from .* to {high}"):
        quiet(tmp_path, max_epochs=1).fit(task(), Images([{"image": image}]))


@pytest.mark.parametrize(("low", "warned"), [(0.0, True), (-0.5, False)])
def test_the_first_images_without_a_negative_value_are_named_once(caplog, low, warned):
    module = task()
    for value in (low, 0.5, 0.5):
        module.look_at({"image": torch.tensor([value, 1.0]).expand(1, 3, 2, 2)})
    assert [
        record.message.startswith(f"the first images have values from {low:g} to 1") for record in caplog.records
    ] == ([True] if warned else [])


@pytest.mark.slow
def test_it_learns_and_a_stop_leaves_no_trace(tmp_path):
    seed_everything(0)
    module = task()
    start = copy.deepcopy(module)
    (before,) = quiet(tmp_path).test(module, data(), verbose=False)
    never = quiet(tmp_path, max_epochs=4, limit_val_batches=0)
    never.fit(module, data())
    (after,) = quiet(tmp_path).test(module, data(), verbose=False)
    assert after["test/loss"] < before["test/loss"] * 0.6
    assert {"test/reconstruction", "test/rate", "test/kl", "test/path_intact"} <= set(after)

    first = quiet(tmp_path, max_epochs=2, limit_val_batches=0)
    first.fit(start, data())
    first.save_checkpoint(tmp_path / "stop.ckpt")
    resumed = task()
    quiet(tmp_path, max_epochs=4, limit_val_batches=0).fit(
        resumed, data(), ckpt_path=tmp_path / "stop.ckpt", weights_only=True
    )
    for key, value in module.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": -1.0}, "beta must be finite and not negative, got -1.0"),
        ({"encoder": ConvEncoder(5, 16, 2)}, r"means and log variances \(1, 4\), got \[\(1, 5\), \(1, 5\)\]"),
        ({"encoder": ConvEncoder(4, 32, 2)}, r"the encoder does not take images of shape \(1, 3, 16, 16\)"),
        ({"latent_size": 3}, r"the generator does not take vectors of shape \(1, 3\)"),
    ],
)
def test_bad_arguments(arguments, message):
    networks: dict[str, nn.Module] = {"encoder": ConvEncoder(4, 16, 2), "decoder": CoordConvGenerator(4, 16, 2)}
    with pytest.raises(ValueError, match=message):
        VAE(**networks | {"latent_size": 4} | arguments)
