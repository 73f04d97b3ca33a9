"""Tests of agents in mixed precision: extractors in half precision, heads in float32, one conversion a rollout."""

import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_coordconv.rl import A2C
from lightning_coordconv.rl.precision import check_precision, mix_precision
from tests.rl.agents import COORDCONV, data, trainer

pytestmark = pytest.mark.filterwarnings("ignore:this processor has no instructions for bfloat16")
PARTS = ("features_extractor.cnn.2", "features_extractor", "action_net", "value_net")


class Shown(BaseFeaturesExtractor):
    """The pixels themselves, in the type in which they come, which their rounding shows."""

    def __init__(self, observation_space):
        super().__init__(observation_space, 256)

    def forward(self, observations):
        return observations.flatten(1)


class Conversions(TorchDispatchMode):
    """Counts how often a weight is converted to another type."""

    def __init__(self, weight):
        super().__init__()
        self.weight, self.count = weight, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default:
            self.count += args[0].data_ptr() == self.weight.data_ptr()
        return func(*args, **kwargs or {})


class Counted(A2C):
    """Note how often a weight is converted in each rollout."""

    def next_minibatch(self):
        with Conversions(self.policy.features_extractor.linear[0].weight) as conversions:
            batch = super().next_minibatch()
        self.counts = [*getattr(self, "counts", []), conversions.count]
        return batch


class Watched(A2C):
    """Note what parts of the policy tell, in which type and with gradients or without, and the first gradients."""

    def configure_model(self):
        super().configure_model()
        self.seen, self.gradients = set(), []
        for part in PARTS:
            self.policy.get_submodule(part).register_forward_hook(
                lambda module, inputs, output, part=part: self.seen.add((part, torch.is_grad_enabled(), output.dtype))
            )

    def on_before_optimizer_step(self, optimizer):
        self.gradients = self.gradients or [p.grad.clone().flatten() for p in self.parameters()]


def fit(folder, precision, updates):
    task = Watched(updates * 4 * 5, policy_kwargs={"features_extractor_class": COORDCONV}, channels_last=True)
    trainer(folder, precision=precision, limit_val_batches=1).fit(task, data(4))
    return task


@pytest.mark.slow
def test_extractors_compute_in_half_and_heads_in_full(tmp_path):
    task = fit(tmp_path, "bf16-mixed", updates=10)
    assert task.seen == {
        (part, mode, torch.bfloat16 if part.startswith("features_extractor") else torch.float32)
        for part in PARTS
        for mode in (False, True)  # in collection and evaluation, and in training
    }
    assert {weight.dtype for weight in task.parameters()} == {torch.float32}


@pytest.mark.slow
def test_gradients_are_those_of_full_precision(tmp_path):
    """Of one update on the same rollout, which the same policy collected; actions depend on rounding only rarely."""
    half, full = (fit(tmp_path, precision, updates=1) for precision in ("bf16-mixed", "32-true"))
    assert (half.algorithm.rollout_buffer.actions == full.algorithm.rollout_buffer.actions).all()
    for a, b in zip(half.gradients, full.gradients, strict=True):
        assert not torch.equal(a, b)
        assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.98


@pytest.mark.slow
def test_full_precision_is_left_alone(tmp_path):
    task = fit(tmp_path, "32-true", updates=2)
    assert {dtype for _, _, dtype in task.seen} == {torch.float32}


def test_weights_are_converted_once_a_rollout(tmp_path):
    """Of five steps and the value of the last observation."""
    task = Counted(3 * 4 * 5, policy_kwargs={"features_extractor_class": COORDCONV})
    trainer(tmp_path, precision="bf16-mixed", limit_val_batches=0).fit(task, data(4))
    assert task.counts == [1, 1, 1]


@pytest.mark.slow
def test_a_policy_follows_the_trainer_that_it_has_now(tmp_path):
    task = fit(tmp_path, "bf16-mixed", updates=2)
    kind = type(task.policy).__bases__[0]
    for precision, half_of_it in (("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        task.seen.clear()
        trainer(tmp_path, precision=precision).test(task, data(4))
        assert {dtype for part, _, dtype in task.seen if part == PARTS[0]} == {half_of_it}
    assert type(task.policy) is kind is task.algorithm.policy_class


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_images_are_scaled_as_stable_baselines3_scales_them(dtype):
    """Without the copy in float32: to the same numbers, of all that there are."""
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 4, 8, 8)
    space = spaces.Box(0, 255, pixels.shape[1:], np.uint8)
    policy = ActorCriticCnnPolicy(space, spaces.Discrete(2), lambda _: 0.1, features_extractor_class=Shown)
    mix_precision(policy, MixedPrecision("16-mixed" if dtype == torch.float16 else "bf16-mixed", "cpu"))
    seen = policy.extract_features(pixels)
    assert torch.equal(seen, preprocess_obs(pixels, space).flatten(1).to(dtype).float())


@pytest.mark.parametrize(("capability", "precision", "warned"), [
    ("AVX2", "bf16-mixed", True), ("AVX2", "16-mixed", False), ("AVX512", "bf16-mixed", False),
])  # fmt: skip
def test_a_processor_that_emulates_bfloat16_is_warned(capability, precision, warned, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    space = spaces.Box(0, 255, (4, 8, 8), np.uint8)
    policy = ActorCriticCnnPolicy(space, spaces.Discrete(2), lambda _: 0.1, features_extractor_class=Shown)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mix_precision(policy, MixedPrecision(precision, "cpu"))
    assert any("32-true" in str(warning.message) for warning in caught) is warned


@pytest.mark.parametrize("plugin", [DoublePrecision(), HalfPrecision("bf16-true"), HalfPrecision("16-true")])
def test_weights_of_other_precisions_are_refused(plugin):
    with pytest.raises(ValueError, match=rf"trainer\.precision must be 32-true, .* got '{plugin.precision}'"):
        check_precision(plugin)
