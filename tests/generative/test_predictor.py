"""Tests of the trained generator in Python: samples as by the trainer, seeds, interpolations, image files, errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.generative import (
    GAN,
    VAE,
    ConvDiscriminator,
    ConvEncoder,
    CoordConvGenerator,
    PooledPixels,
    SortOfClevrDataModule,
    SpatialBroadcastDecoder,
    load,
)
from tests.classification.test_task import quiet


def gan() -> GAN:
    generator = CoordConvGenerator(latent_size=6, canvas=16, width=2)
    return GAN(generator, ConvDiscriminator(canvas=16, width=2), latent_size=6, binary_latents=1, ema_decay=0.5)


def vae() -> VAE:
    return VAE(ConvEncoder(6, 16, 2), SpatialBroadcastDecoder(6, 16, 4), latent_size=6)


@pytest.fixture(scope="module", params=[gan, vae])
def trained(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "last.ckpt"
    torch.manual_seed(1)  # of some seeds the untrained generator makes one image only
    run = quiet(path.parent, max_epochs=1, limit_val_batches=0, limit_train_batches=3)
    run.fit(request.param(), data())
    run.save_checkpoint(path)
    return path


def data() -> SortOfClevrDataModule:
    return SortOfClevrDataModule(canvas=16, radius=2, count=12, eval_count=8, batch_size=4, eval_batch_size=8)


def test_samples_are_those_of_trainer_predict(trained, tmp_path):
    model = load(trained, device="cpu")
    batches = quiet(tmp_path).predict(model.task, data())
    expected = torch.cat([batch["image"] for batch in batches])
    found = model.sample(len(expected), seed=model.task.seed)
    torch.testing.assert_close(found.images, expected)
    assert found.images.std() > 0


def test_samples_can_be_the_input_of_another_network(trained):
    assert torch.nn.Conv2d(3, 1, 1)(load(trained).sample(2).images).requires_grad


def test_samples_come_from_the_averaged_generator(tmp_path):
    task = gan()
    run = quiet(tmp_path, max_epochs=1, limit_val_batches=0, limit_train_batches=3)
    run.fit(task, data())
    run.save_checkpoint(tmp_path / "last.ckpt")
    model = load(tmp_path / "last.ckpt")
    found = model.sample(4)
    for generator, same in ((task.average, True), (task.generator, False)):
        images = torch.tanh(generator.eval()(found.latents))
        assert torch.allclose(found.images, images, atol=1e-6) is same


def test_a_seed_fixes_the_samples(trained):
    model = load(trained)
    first, again, other = model.sample(3, seed=1), model.sample(3, seed=1), model.sample(3, seed=2)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.images, model.sample(np.int64(3), seed=np.int64(1)).images)
    assert not torch.equal(first.latents, other.latents)
    assert len(model.sample(70)) == 70
    torch.testing.assert_close(model.generate(first.latents).images, first.images)


def test_interpolations_lead_from_sample_to_sample(trained):
    model = load(trained)
    paths, ends = model.interpolate(2, frames=5, seed=3).images, model.sample(4, seed=3).images
    assert paths.shape == (2, 5, *ends.shape[1:])
    torch.testing.assert_close(paths[:, [0, -1]].flatten(0, 1), ends)


def test_images_are_drawn_and_saved(trained, tmp_path):
    model = load(trained)
    found = model.sample(5)
    with Image.open(found.save(tmp_path / "grid.png")) as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(found.plot()))
    assert len(list(found.save_each(tmp_path / "new").iterdir())) == len(found.to_pillow()) == len(found) == 5
    found.save_each(tmp_path / "new")  # as many
    with pytest.raises(FileExistsError, match=r"00003.png is there from a set of more than 3 images: remove it"):
        model.sample(3).save_each(tmp_path / "new")
    paths = model.interpolate(2, frames=3)
    with Image.open(paths.save(tmp_path / "new" / "path.gif")) as saved:
        assert saved.n_frames == 4
    with Image.open(paths.save(tmp_path / "path.png")) as saved:
        assert saved.size == paths.plot().size
    (tmp_path / "file").write_text("x")
    for write in (found.save, paths.save):
        with pytest.raises(OSError, match=r"path.gif cannot be written: "):
            write(tmp_path / "file" / "path.gif")
    assert (repr(found), repr(paths)) == ("5 images, 3 x 16 x 16", "2 interpolations of 3 images, 3 x 16 x 16")


def test_wrong_numbers_are_named(trained):
    model = load(trained)
    for call, message in [
        (lambda: model.sample(0), "n must be at least 1, got 0"),
        (lambda: model.sample(1.5), "n must be an integer"),
        (lambda: model.sample(1, seed=-1), "seed must be at least 0, got -1"),
        (lambda: model.interpolate(1, frames=1), "frames must be at least 2, got 1"),
        (lambda: model.generate(torch.zeros(2, 5)), r"latents must be floating-point, \(n, 6\), got .* \(2, 5\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_another_domain_s_checkpoint_is_named(trained):
    from lightning_coordconv.classification import load as load_classifier

    with pytest.raises(CheckpointError, match=r"is a checkpoint of (GAN|VAE).*: use lightning_coordconv.generative"):
        load_classifier(trained)


def with_features(features, folder):
    """Return the checkpoint of a GAN that is measured with given features."""
    networks = CoordConvGenerator(latent_size=6, canvas=16, width=2), ConvDiscriminator(canvas=16, width=2)
    run = quiet(folder, max_steps=1)
    run.fit(GAN(*networks, latent_size=6, features=features), data())
    run.save_checkpoint(folder / "a.ckpt")
    return folder / "a.ckpt"


@pytest.mark.slow
def test_features_that_are_given_have_to_be_given_again(tmp_path):
    """With the default features the same checkpoint would have another Frechet distance."""
    path = with_features(PooledPixels(2), tmp_path)
    with pytest.raises(CheckpointError, match="does not describe the features of GAN"):
        GAN.load_from_checkpoint(path)
    task = GAN.load_from_checkpoint(path, features=PooledPixels(2))
    assert task.features(torch.rand(1, 3, 16, 16)).shape == (1, 12)
    GAN.load_from_checkpoint(with_features(None, tmp_path))
