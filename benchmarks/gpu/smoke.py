"""Function that runs two training steps, a validation batch and a test batch of every config on the device."""

from collections.abc import Iterator

from benchmarks.gpu.commands import attempt
from benchmarks.gpu.parts import Row, Setting
from lightning_coordconv.runtime.shipped_configs import experiments

STEPS = (
    "--trainer.max_steps=2",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.check_val_every_n_epoch=null",
    "--trainer.val_check_interval=1",
    "--trainer.num_sanity_val_steps=0",
)


def configs(setting: Setting) -> Iterator[Row]:
    """Run each experiment; those whose data are missing are refused by the command line."""
    for name in setting.names or experiments():
        yield {"experiment": name, **attempt(name, [*STEPS, f"--trainer.accelerator={setting.accelerator}"])}
