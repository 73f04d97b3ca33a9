"""Function that trains coordinate tasks on a GPU: CoordConv to the end, for its accuracy, baselines for their speed."""

from collections.abc import Iterator

from benchmarks.gpu.commands import fit
from benchmarks.gpu.parts import Row, Setting

PERFECT = (
    "coordinates/classification_uniform_coordconv_paper",
    "coordinates/classification_quadrant_coordconv_paper",
    "coordinates/classification_uniform_coordconv",
    "coordinates/classification_quadrant_coordconv",
    "coordinates/rendering_uniform_coordconv",
)
SLOW = {
    "coordinates/classification_uniform_deconv": 100,
    "coordinates/rendering_uniform_deconv": 100,
}
"""Baselines whose whole training takes minutes, and how many of its steps are timed."""


def experiments(setting: Setting) -> Iterator[Row]:
    """Train the recipes of CoordConv to their end, and the baselines for some steps."""
    accelerator = f"--trainer.accelerator={setting.accelerator}"
    short = ["--trainer.limit_train_batches=2", "--trainer.limit_test_batches=1", "--trainer.max_epochs=1"]
    for name in PERFECT[:1] if setting.small else PERFECT:
        summary = fit(name, [accelerator, *short * setting.small])
        test = summary["test"]
        yield {
            "experiment": name,
            "goal": "accuracy",
            **speed(summary["steps"], summary["seconds"]),
            "test": {key: value for key, value in test.items() if key.startswith("test/")},
            "train": {key: value for key, value in test.items() if key.startswith("test_train/")},
        }
    without = ["--trainer.limit_val_batches=0", "--trainer.limit_test_batches=0", "--trainer.num_sanity_val_steps=0"]
    for name, steps in dict(list(SLOW.items())[: 1 if setting.small else None]).items():
        steps = 2 if setting.small else steps
        seconds = []
        for count in (steps, 2 * steps):  # the difference is without what happens once
            summary = fit(name, [accelerator, *without, "--trainer.max_epochs=-1", f"--trainer.max_steps={count}"])
            seconds.append(summary["seconds"])
        yield {"experiment": name, "goal": "speed", **speed(steps, seconds[1] - seconds[0])}


def speed(steps: int, seconds: float) -> Row:
    """Return steps, seconds and milliseconds a step."""
    return {"steps": steps, "seconds": round(seconds, 2), "ms_a_step": 1e3 * seconds / steps}
