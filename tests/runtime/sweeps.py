"""Functions for tests that run the command ``sweep``, with or without an error, and the names of configs for it."""

import pytest

from lightning_coordconv.runtime.cli import main

NAMES = ("coordinates/regression_quadrant_coordconv", "coordinates/regression_quadrant_conv")
LR = "model.optimizer.init_args.lr"


def sweep(*args):
    main(["sweep", *args])


def fails(capsys, *args):
    """Return the line in which a command ends."""
    with pytest.raises(SystemExit) as end:
        sweep(*args)
    message = capsys.readouterr().err.splitlines()[-1] if end.value.code == 2 else str(end.value.code)
    assert message.startswith("error: ")
    return message
