"""Function that says what a training step of the user's own must do for several ranks to train as one process does."""

import inspect

from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_info

PACKAGE = __name__.partition(".")[0]


def name_unequal_shares(task: LightningModule) -> None:
    """Say that the last batch of an epoch has unequal shares on several ranks, if the training step seems to ignore it.

    Args:
        task: attached to a trainer. A training step of this package, or one that calls ``share``, needs no word.
    """
    step = inspect.unwrap(type(task).training_step)
    own = step.__module__.partition(".")[0] not in (PACKAGE, "pytorch_lightning")
    names = getattr(getattr(step, "__code__", None), "co_names", ())
    if own and task.trainer.world_size > 1 and "share" not in names:
        rank_zero_info(
            f"{type(task).__name__} has a training_step of its own, and the {task.trainer.world_size} ranks can have "
            "unequal shares of the last batch: multiply its loss by self.share(number of samples). Means that "
            "self.log makes of the ranks are not exact either: log metrics of torchmetrics, such as MeanMetric"
        )
