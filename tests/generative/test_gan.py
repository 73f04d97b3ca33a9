"""Tests of GAN training: iterations against a plain loop, resuming, ranks, precision, averaging, non-finite losses."""

import copy
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from lightning_coordconv.generative import (
    GAN,
    ConvDiscriminator,
)
from lightning_coordconv.runtime.callbacks.finite import StopAtNonFinite
from tests.generative.gans import ADAM, CONFIG, data, fit, networks, task, trainer
from tests.runtime.distributed import ranks


class NormalisedGenerator(nn.Sequential):
    """A linear generator with spectral norm."""

    def __init__(self):
        super().__init__(spectral_norm(nn.Linear(4, 3 * 16 * 16)), nn.Unflatten(1, (3, 16, 16)))


@pytest.mark.slow
def test_the_average_of_a_generator_keeps_its_spectral_norm(tmp_path):
    seed_everything(0, verbose=False)
    module = GAN(NormalisedGenerator(), ConvDiscriminator(16, 2), latent_size=4, ema_decay=0.99)
    fit(tmp_path, module, max_epochs=10)
    module.eval()
    for generator in (module.generator, module.average):
        assert torch.linalg.matrix_norm(generator[0].weight, 2).item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("squash", [True, False])
def test_an_iteration_by_a_plain_loop(tmp_path, squash):
    seed_everything(0)
    module = task(r1=2.0, feature_matching=0.3, ema_decay=0.7, squash=squash)
    generator, discriminator = copy.deepcopy((module.generator, module.discriminator))
    average = [weight.detach().clone() for weight in generator.parameters()]
    source = copy.deepcopy(module.latents)
    fit(tmp_path, module)

    optimizer_d, optimizer_g = ADAM(discriminator.parameters()), ADAM(generator.parameters())
    seen = torch.tanh if squash else lambda image: image
    loader = data().train_dataloader()
    assert len(loader) == 3
    for batch in loader:
        real, latent = batch["image"], source.draw(8)
        with torch.no_grad():
            fake = seen(generator(latent))
        images = real.clone().requires_grad_()
        logits = discriminator(images)
        (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        loss = F.binary_cross_entropy_with_logits(logits, torch.ones(8))
        loss = loss + F.binary_cross_entropy_with_logits(discriminator(fake), torch.zeros(8))
        optimizer_d.zero_grad()
        (loss + 2.0 / 2 * slope.square().sum() / 8).backward()
        optimizer_d.step()
        for _ in range(2):
            fake = seen(generator(latent))
            loss = F.binary_cross_entropy_with_logits(discriminator(fake), torch.ones(8))
            apart = discriminator.features(fake).mean(0) - discriminator.features(real).mean(0)
            optimizer_g.zero_grad()
            (loss + 0.3 * apart.square().sum()).backward()
            optimizer_g.step()
        for mean, weight in zip(average, generator.parameters(), strict=True):
            mean.copy_(0.7 * mean + 0.3 * weight.detach())
    for ours, theirs in ((module.generator, generator), (module.discriminator, discriminator)):
        for (name, weight), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-6, msg=name)
    for weight, other in zip(module.average.parameters(), average, strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-6)
    assert all(weight.requires_grad for weight in module.discriminator.parameters())
    assert all(weight.grad is None for weight in module.average.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # by the compiler itself
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_compiled_iteration_by_an_eager_one(tmp_path, monkeypatch, batch_norm):
    """With both penalties, of which R1 needs second derivatives, which compiled code does not have."""
    compiled, whole = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **_: compiled.append(f) or whole(f, backend="aot_eager"))
    runs = []
    for compile in (False, True):
        seed_everything(0)
        sgd = partial(torch.optim.SGD, lr=0.01)  # Adam makes full steps of rounding errors
        options = {"generator_optimizer": sgd, "discriminator_optimizer": sgd, "compile": compile}
        module = task(batch_norm, r1=1.0, feature_matching=0.3, **options)
        runs.append(state(fit(tmp_path, module)))
    assert len(compiled) == 2
    for eager, other in zip(*runs, strict=True):
        torch.testing.assert_close(other, eager, rtol=1e-3, atol=1e-4)


def state(runner):
    """Everything that a run goes on from."""
    module = runner.lightning_module
    moments = [value for optimizer in runner.optimizers for values in optimizer.state.values() for value in
               values.values() if isinstance(value, torch.Tensor)]  # fmt: skip
    return [*module.state_dict().values(), *moments, module.latents.generator.get_state()]


class SaveAt(Callback):
    """Writes a checkpoint after some iterations."""

    def __init__(self, iterations):
        self.iterations = iterations

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 3 * self.iterations:
            trainer.save_checkpoint(Path(trainer.default_root_dir, "stop.ckpt"))


@pytest.mark.slow
@pytest.mark.parametrize(("batch_norm", "iterations"), [(False, 6), (True, 5)])
def test_stopping_and_going_on_equals_never_stopping(tmp_path, batch_norm, iterations):
    """At the end of the second epoch and within it, bit for bit."""
    seed_everything(0)
    module = task(batch_norm, r1=0.0 if batch_norm else 1.0)
    never = fit(tmp_path, module, [SaveAt(iterations)], max_epochs=4, limit_val_batches=1)
    seed_everything(1)
    resumed = trainer(tmp_path, max_epochs=4, limit_val_batches=1)
    resumed.fit(task(batch_norm, r1=0.0 if batch_norm else 1.0), data(), ckpt_path=tmp_path / "stop.ckpt",
                weights_only=True)  # fmt: skip
    assert resumed.global_step == never.global_step == 4 * 3 * 3
    first, second = state(never), state(resumed)
    assert len(first) == len(second) > 40
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.slow
def test_two_ranks_do_what_one_process_does(tmp_path):
    """Plain DDP, real processes: the same weights, averages, noise and metrics, with unequal shares of the images."""
    for devices in (1, 2):
        job = (
            f"fit -c {CONFIG} --trainer.devices={devices} --trainer.accelerator=cpu --trainer.precision=64-true "
            f"--trainer.strategy={'ddp' if devices > 1 else 'auto'} --trainer.max_epochs=2 --data.count=40 "
            "--data.batch_size=12 --data.eval_count=31 --data.eval_batch_size=10 --trainer.enable_progress_bar=false "
            f"--trainer.callbacks+={ranks.__name__}.Weights --trainer.callbacks.folder={tmp_path / str(devices)}"
        )
        ranks.Ranks(devices, ["-m", ranks.__name__, *job.split()], tmp_path / f"logs{devices}").end_with(0)
    alone, first, second = (
        torch.load(tmp_path / file, weights_only=True) for file in ("1/rank0.pt", "2/rank0.pt", "2/rank1.pt")
    )
    for key, weight in alone["weights"].items():
        assert torch.equal(first["weights"][key], second["weights"][key]), key
        torch.testing.assert_close(first["weights"][key], weight, rtol=0, atol=1e-7, msg=key)
    for key, value in alone["logged"].items():
        if key.startswith("val/"):
            assert first["logged"][key] == pytest.approx(value, rel=1e-5, abs=1e-6, nan_ok=True), key
    (figure,) = (tmp_path / "logs2").rglob("positions.png")
    assert figure.stat().st_size > 10_000


def test_batch_norm_can_be_synchronised():
    module = nn.SyncBatchNorm.convert_sync_batchnorm(task(batch_norm=True))
    kinds = {type(layer) for layer in (*module.generator.modules(), *module.discriminator.modules())}
    assert nn.SyncBatchNorm in kinds
    assert nn.BatchNorm2d not in kinds


def test_mixed_precision(tmp_path):
    module = task(r1=1.0)
    fit(tmp_path, module, precision="bf16-mixed", limit_val_batches=1)
    assert all(torch.isfinite(weight).all() and weight.dtype == torch.float32 for weight in module.parameters())
    assert module(module.fixed_latents).dtype == torch.float32


class Broken(Callback):
    """Breaks a network's last bias before the second epoch's first iteration."""

    def __init__(self, network):
        self.network = network

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            with torch.no_grad():
                list(getattr(pl_module, self.network).parameters())[-1].fill_(math.nan)


@pytest.mark.parametrize("network", ["discriminator", "generator"])
def test_a_loss_that_is_no_number_stops_the_run_and_names_its_network(tmp_path, network):
    module = task()
    saved = ModelCheckpoint(tmp_path)
    with pytest.raises(FloatingPointError, match=rf"of GAN is nan at step 9 .*not finite themselves: {network}\."):
        fit(tmp_path, module, [Broken(network), StopAtNonFinite(), saved], enable_checkpointing=True, max_epochs=2)
    last = torch.load(saved.best_model_path, weights_only=True)
    assert last["global_step"] == 9
    assert all(torch.isfinite(value).all() for value in last["state_dict"].values())


class GeneratorOverflow(GAN):
    """Only its generator's loss is infinite."""

    def generator_loss(self, real, fake):
        loss, distance = super().generator_loss(real, fake)
        return loss * math.inf, distance


def test_the_network_named_is_the_one_whose_loss_it_is(tmp_path):
    module = GeneratorOverflow(*networks(), latent_size=4, object_radius=3)
    with pytest.raises(FloatingPointError, match="the loss of the generator of GeneratorOverflow is inf at step 1"):
        fit(tmp_path, module, [StopAtNonFinite()])


def test_the_tanh_of_a_bfloat16_output_is_computed_in_float32():
    """In bfloat16 its gradient is exactly zero beyond 3.5, where a white canvas soon is."""
    output = torch.tensor([[[[4.0, 6.0, 8.0]]]], dtype=torch.bfloat16, requires_grad=True)
    task().visible(output).sum().backward()
    assert (output.grad > 0).all()


def test_every_stream_of_latents_has_its_binary_latents():
    module = task(binary_latents=3)
    drawn = torch.cat([module.fixed_latents, module.latents.draw(64), module.evaluation_latents.draw(64)])
    assert set(drawn[:, :3].flatten().tolist()) == {-1.0, 1.0}
    assert drawn[:, 3].abs().max() < 1
    assert module.paths(2, 3).shape == (2, 3, 3, 16, 16)
