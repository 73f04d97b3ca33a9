"""Agents in mixed precision: extractors in half of it, wherever SB3 calls the policy, and heads in full."""

import torch

from lightning_coordconv.tasks.rl import A2C
from tests.tasks.agents import COORDCONV, data, trainer

PARTS = ("features_extractor.cnn.2", "features_extractor", "action_net", "value_net")


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


def test_extractors_compute_in_half_and_heads_in_full(tmp_path):
    task = fit(tmp_path, "bf16-mixed", updates=10)
    half, *full = PARTS
    modes = (False, True)  # in collection and evaluation, and in training
    assert task.seen == {(half, mode, torch.bfloat16) for mode in modes} | {
        (part, mode, torch.float32) for part in full for mode in modes
    }
    assert {weight.dtype for weight in task.parameters()} == {torch.float32}


def test_gradients_are_those_of_full_precision(tmp_path):
    """Of one update on the same rollout, which the same policy collected; actions depend on rounding only rarely."""
    half, full = (fit(tmp_path, precision, updates=1) for precision in ("bf16-mixed", "32-true"))
    assert (half.algorithm.rollout_buffer.actions == full.algorithm.rollout_buffer.actions).all()
    for a, b in zip(half.gradients, full.gradients, strict=True):
        assert not torch.equal(a, b)
        assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.98


def test_full_precision_is_left_alone(tmp_path):
    task = fit(tmp_path, "32-true", updates=2)
    assert {dtype for _, _, dtype in task.seen} == {torch.float32}
    assert "forward" not in vars(task.policy.features_extractor)
