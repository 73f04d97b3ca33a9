"""Test that of the errors in threads only the OSError that TensorBoard's writer raises again is hidden."""

import threading

import pytest

from lightning_coordconv.runtime import quiet


@pytest.mark.parametrize(("module", "kind", "hidden"), [
    ("tensorboard.summary.writer.event_file_writer", OSError, True),
    ("tensorboard.summary.writer.event_file_writer", ValueError, False),
    ("mine", OSError, False),
])  # fmt: skip
def test_only_an_error_that_the_writer_raises_again_is_hidden(module, kind, hidden, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    reported = []
    monkeypatch.setattr(quiet, "_report_error", reported.append)
    quiet.silence_libraries()
    writer = type(
        "Writer", (threading.Thread,), {"__module__": module, "run": lambda self: (_ for _ in ()).throw(kind())}
    )
    thread = writer()
    thread.start()
    thread.join()
    assert len(reported) == (not hidden)
