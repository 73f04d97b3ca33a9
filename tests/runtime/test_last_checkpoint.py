"""Test that a run can be saved and stopped after a batch, unless the epoch ends or a validation follows."""

from types import SimpleNamespace
from typing import Any

import pytest

from lightning_coordconv.runtime.callbacks.last_checkpoint import is_within_epoch


@pytest.mark.parametrize(
    ("interval", "every_n_epoch", "last_batch", "validation", "within"),
    [
        (3, 1, False, True, [True, True, False, True, True, False]),
        # of all batches, of which an epoch before had two
        (4, None, False, True, [True, False, True, True, True, False]),
        (float("inf"), 1, False, True, [True] * 6),
        (None, 1, False, True, [True] * 6),  # by the clock
        (None, 1, True, True, [False] * 6),
        (1, None, False, False, [True] * 6),  # limit_val_batches is 0
    ],
)
def test_a_run_stops_after_a_batch_unless_the_epoch_ends_or_a_validation_follows(
    interval, every_n_epoch, last_batch, validation, within
):
    found = []
    for batch in range(6):
        trainer: Any = SimpleNamespace(
            check_val_every_n_epoch=every_n_epoch, val_check_batch=interval, is_last_batch=last_batch,
            enable_validation=validation, fit_loop=SimpleNamespace(total_batch_idx=batch + 2),
        )  # fmt: skip
        found.append(is_within_epoch(trainer, batch))
    assert found == within
