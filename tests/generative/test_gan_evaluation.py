"""Tests of the evaluation of GANs: averaged generator, seeds, FID, collapse warnings, discriminator, progress bar."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_coordconv.generative import (
    SortOfClevrDataModule,
)
from tests.generative.gans import data, fit, task, trainer


def test_without_averaging_samples_come_from_the_generator():
    module = task(ema_decay=None)
    assert module.sampled_generator is module.generator
    assert torch.equal(module(module.fixed_latents), torch.tanh(module.generator(module.fixed_latents)))


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_a_checkpoint_is_evaluated_with_the_same_latent_vectors_whatever_the_seed(tmp_path):
    torch.manual_seed(1)
    module = task()
    runner = fit(tmp_path, module, limit_train_batches=1, limit_val_batches=1)
    (wanted,) = runner.test(module, data(), verbose=False)
    runner.save_checkpoint(tmp_path / "gan.ckpt")
    torch.manual_seed(2)
    (found,) = trainer(tmp_path).test(task(), data(), ckpt_path=tmp_path / "gan.ckpt", verbose=False)
    assert found == pytest.approx(wanted, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize(("radius", "judge"), [(3, "val/kl"), (None, "val/fid")])
def test_progress_shows_the_metric_that_judges(tmp_path, radius, judge):
    module = task(object_radius=radius)
    runner = fit(tmp_path, module, limit_train_batches=1, limit_val_batches=1)
    assert module.monitor == judge
    assert {name for name in runner.progress_bar_metrics if name.startswith("val/")} == {judge}
