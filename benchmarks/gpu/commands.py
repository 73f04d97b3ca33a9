"""Functions that run ``fit`` in this process, and return its summary, or whether it was ok, refused or failed."""

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_coordconv.runtime.cli import main


def fit(experiment: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Train an experiment in an empty folder, in this process, and return its ``summary.json``."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        main(["fit", "-c", experiment, "--trainer.enable_progress_bar=false", *arguments])
        (path,) = Path(folder).rglob("summary.json")
        summary: dict[str, Any] = json.loads(path.read_text())
        return summary


def attempt(experiment: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Train an experiment, and return how that ended: ``status``, ``seconds`` and ``message``."""
    begin = time.perf_counter()
    status, message = "ok", ""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            fit(experiment, arguments)
    except SystemExit as end:
        status = "refused"
        message = end.code if isinstance(end.code, str) else (errors.getvalue().strip().splitlines() or [""])[-1]
    except Exception as error:
        status, message = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
    return {"status": status, "seconds": round(time.perf_counter() - begin, 1), "message": message}
