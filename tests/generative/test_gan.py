"""Tests of the GAN task: iterations against a plain loop, resuming, two ranks, losses, averaging, collapse, errors."""

import copy
import json
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from lightning_coordconv.generative import (
    GAN,
    ConvDiscriminator,
    ConvGenerator,
    CoordConvGenerator,
    SortOfClevrDataModule,
)
from lightning_coordconv.generative.losses import LOSSES, feature_distance, gradient_penalty
from lightning_coordconv.runtime.callbacks.finite import StopAtNonFinite
from tests.runtime.distributed import ranks

ADAM = partial(torch.optim.Adam, lr=0.002, betas=(0.5, 0.9))
SOFTPLUS = {x: math.log(1 + math.exp(x)) for x in range(-3, 4)}
CONFIG = Path(__file__).parents[2] / "configs" / "generative" / "small_coordconv.yaml"


def networks(batch_norm=False, coordinates=True):
    generator = ConvGenerator(4, 16, 4) if batch_norm else CoordConvGenerator(4, 16, 2)
    return generator, ConvDiscriminator(16, 2, coordinates, "batch" if batch_norm else "none")


def task(batch_norm=False, **arguments):
    options = {"generator_optimizer": ADAM, "discriminator_optimizer": ADAM, "latent_size": 4, "object_radius": 3}
    return GAN(*networks(batch_norm), **options | arguments)


def data(**arguments):
    return SortOfClevrDataModule(
        **{"count": 24, "eval_count": 6, "canvas": 16, "radius": 3, "batch_size": 8} | arguments
    )


def trainer(folder, **arguments):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
             "enable_model_summary": False, "num_sanity_val_steps": 0}  # fmt: skip
    return Trainer(accelerator="cpu", default_root_dir=folder, **quiet | arguments)


def fit(folder, module, callbacks=(), **arguments):
    runner = trainer(folder, callbacks=list(callbacks), **{"max_epochs": 1, "limit_val_batches": 0} | arguments)
    runner.fit(module, data())
    return runner


class NormalisedGenerator(nn.Sequential):
    """A linear generator with spectral norm."""

    def __init__(self):
        super().__init__(spectral_norm(nn.Linear(4, 3 * 16 * 16)), nn.Unflatten(1, (3, 16, 16)))


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


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("non-saturating", SOFTPLUS[-2] + (SOFTPLUS[1] + SOFTPLUS[-3]) / 2, (SOFTPLUS[-1] + SOFTPLUS[3]) / 2),
        ("hinge", (0 + (2 + 0) / 2), -(1 - 3) / 2),
        ("least-squares", (1 + (1 + 9) / 2) / 2, (0 + 16) / 2 / 2),
    ],
)  # fmt: skip
def test_losses_by_hand(name, discriminator, generator):
    real, fake = torch.tensor([2.0, 2.0]), torch.tensor([1.0, -3.0])
    assert LOSSES[name].discriminator(real, fake).item() == pytest.approx(discriminator)
    assert LOSSES[name].generator(fake).item() == pytest.approx(generator)


def test_penalties_by_hand():
    images = torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)
    assert gradient_penalty(images.square().sum(1), images).item() == pytest.approx((4 + 16 + 36) / 2)
    assert feature_distance(torch.tensor([[1.0, 3.0], [3.0, 3.0]]), torch.tensor([[0.0, 1.0]])).item() == 4 + 4


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


def test_without_averaging_samples_come_from_the_generator():
    module = task(ema_decay=None)
    assert module.sampled_generator is module.generator
    assert torch.equal(module(module.fixed_latents), torch.tanh(module.generator(module.fixed_latents)))


def test_evaluation_draws_the_same_each_time_and_leaves_training_alone(tmp_path):
    module = task()
    before = module.latents.generator.get_state()
    first, again = (trainer(tmp_path).test(module, data(eval_batch_size=2), verbose=False) for _ in range(2))
    assert first[0] == pytest.approx(again[0], rel=0, abs=0, nan_ok=True)
    names = ("entropy_red", "data_entropy_red", "kl", "coverage_blue", "well_formed", "fid", "recall", "path_jump")
    assert {f"test/{name}" for name in names} <= set(first[0])
    assert torch.equal(before, module.latents.generator.get_state())


def test_images_without_objects_are_judged_by_fid(tmp_path):
    module = task(object_radius=None, features=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert module.monitor == "val/fid"
    assert task().monitor == "val/kl"
    (result,) = trainer(tmp_path).test(module, data(), verbose=False)
    assert set(result) == {"test/variation", "test/fid", "test/precision", "test/recall", "test/loss_d", "test/loss_g"}


class Photographs(SortOfClevrDataModule):
    """Images without objects, as a user's own pictures are."""

    def make_dataset(self, split):
        dataset = super().make_dataset(split)
        dataset.images.random_(generator=torch.Generator().manual_seed(0))
        return dataset


@pytest.mark.parametrize("stage", ["fit", "sanity check", "test"])
def test_object_metrics_of_images_without_objects_are_refused(tmp_path, stage):
    """Both kinds of images lack objects, so a comparison would call the generator perfect."""
    message = "no real image has a blue and a red object of radius 3 .* set model.object_radius to null"
    images = Photographs(count=24, eval_count=6, canvas=16, radius=3, batch_size=8)
    runner = trainer(tmp_path, max_epochs=1, num_sanity_val_steps=1 if stage == "sanity check" else 0)
    with pytest.raises(ValueError, match=message):
        (runner.test if stage == "test" else runner.fit)(task(), images)
    assert runner.global_step == (9 if stage == "fit" else 0)


def constant(level):
    """A task whose generator makes one image: white, black or grey, with the same details for every latent vector."""
    module = task(ema_decay=None)
    with torch.no_grad():
        module.generator[0].weight.zero_()
        module.generator[-1].bias.fill_(level)
    return module


@pytest.mark.parametrize("level", [30.0, -30.0, 0.0])
@pytest.mark.parametrize("stage", ["validate", "test"])
def test_a_generator_whose_samples_are_one_image_is_reported(tmp_path, caplog, level, stage):
    module = constant(level)
    (result,) = getattr(trainer(tmp_path), stage)(module, data(), verbose=False)
    prefix = "val" if stage == "validate" else "test"
    assert result[f"{prefix}/variation"] < 1e-3
    (record,) = [record for record in caplog.records if "collapsed" in record.message]
    assert record.levelname == "WARNING"
    assert record.message.startswith("epoch 0: the generator has collapsed")


def test_a_generator_whose_samples_differ_is_not_reported(tmp_path, caplog):
    (result,) = trainer(tmp_path).validate(task(), data(), verbose=False)
    assert result["val/variation"] > 0.05
    assert not [record for record in caplog.records if "collapsed" in record.message]


def test_collapse_is_reported_in_the_epoch_it_happens_and_not_by_the_sanity_check(tmp_path, caplog):
    module = constant(30.0)
    module.configure_optimizers = lambda: ([torch.optim.SGD(net.parameters(), 0.0) for net in
                                            (module.discriminator, module.generator)], [])  # fmt: skip
    trainer(tmp_path, max_epochs=2, num_sanity_val_steps=1).fit(module, data())
    messages = [record.message for record in caplog.records if "collapsed" in record.message]
    assert [message.partition(":")[0] for message in messages] == ["epoch 0", "epoch 1"]


@pytest.mark.parametrize("squash", [True, False])
def test_evaluation_shows_the_discriminator_what_training_shows_it(tmp_path, squash):
    module = task(squash=squash, ema_decay=None).eval()
    with torch.no_grad():
        module.generator[-1].bias.fill_(3.0)
    (result,) = trainer(tmp_path).test(module, data(), verbose=False)
    module.evaluation_latents.generator.manual_seed(module.seed + 1)
    with torch.no_grad():
        output = module.generator(module.evaluation_latents.draw(6))
        logits = module.discriminator(torch.tanh(output) if squash else output)
    assert result["test/loss_g"] == pytest.approx(F.softplus(-logits).mean().item(), rel=1e-5)


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


@pytest.mark.parametrize(("radius", "judge"), [(3, "val/kl"), (None, "val/fid")])
def test_progress_shows_the_metric_that_judges(tmp_path, radius, judge):
    module = task(object_radius=radius)
    runner = fit(tmp_path, module, limit_train_batches=1, limit_val_batches=1)
    assert module.monitor == judge
    assert {name for name in runner.progress_bar_metrics if name.startswith("val/")} == {judge}
