"""Functions that measure environment steps a second of A2C on Pong on a GPU, by Stable-Baselines3 and the package."""

import time
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu.parts import NotPossibleError, Row, Setting

SKIPPED = 5  # updates before the clock starts
ROLLOUT = 5  # steps of each environment in an update of A2C


def rates(setting: Setting) -> Iterator[Row]:
    """Measure each arm, all with the settings of the shipped recipe."""
    try:
        from benchmarks.rl import stable_baselines3_rate
    except ModuleNotFoundError as error:
        raise NotPossibleError("pip install 'lightning-coordconv[rl]' for the agents") from error
    # backend, games, updates
    arms = [("sb3", 16, 60), ("lean", 16, 60), ("ale", 16, 60), ("ale", 64, 30), ("ale", 256, 20)]
    if setting.small:
        arms = [("sb3", 2, 5), ("ale", 2, 5)]
    first = stable_baselines3_rate(*arms[0][1:], device=str(setting.device))
    yield {"arm": "stable-baselines3", "games": arms[0][1], "steps_a_second": first, "ratio": 1.0}
    for backend, games, updates in arms:
        rate = rate_of_ours(setting, backend, games, updates)
        yield {"arm": f"ours, {backend}", "games": games, "steps_a_second": rate, "ratio": rate / first}


def rate_of_ours(setting: Setting, backend: Any, n_envs: int, updates: int) -> float:
    """Return environment steps a second of a fit of A2C."""
    from pytorch_lightning import Callback, LightningModule, Trainer

    from benchmarks.rl import ARGUMENTS, GAME, POLICY
    from lightning_coordconv.rl import A2C, EnvironmentDataModule

    class Clock(Callback):
        started, ended = 0.0, 0.0

        def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
            self.ended = time.perf_counter()
            if trainer.global_step == SKIPPED:
                self.started = self.ended

    clock = Clock()
    data = EnvironmentDataModule(GAME, n_envs=n_envs, backend=backend, frame_stack=4, rollouts_per_epoch=10**6)
    task = A2C((SKIPPED + updates) * n_envs * ROLLOUT, policy_kwargs=POLICY, **ARGUMENTS)
    trainer = Trainer(
        accelerator=setting.accelerator, devices=1, max_epochs=-1, limit_val_batches=0, callbacks=[clock], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, data)
    return updates * n_envs * ROLLOUT / (clock.ended - clock.started)
