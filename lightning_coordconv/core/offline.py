"""Context managers: one to build networks without fetching weights, with a check for it; one to bar connections."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any
from unittest.mock import patch

from torch import nn
from torchvision.models import WeightsEnum

from lightning_coordconv.core.plain_data import UntrustedCheckpointError

CONNECTING = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
STARTING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")
BARRED = {
    **dict.fromkeys(CONNECTING, "reaches for the network"),
    **dict.fromkeys(STARTING, "starts a program"),
    "pickle.find_class": "unpickles an object",
}
"""Events of Python's audit hooks with which connections, programs and pickled objects begin, and what each does."""
_restoring = ContextVar("restoring", default=False)
_offline = ContextVar("offline", default=False)
_lock = threading.RLock()


class NoWeights(dict[str, Any]):
    """What a network gets in place of the pretrained weights that it would fetch; loading it changes nothing."""


@contextmanager
def restoring() -> Iterator[None]:
    """Return a context in which networks are built for the weights of a checkpoint, without fetching any others.

    Networks of this package ask :func:`is_restoring`. Those of torchvision are built as for their pretrained weights,
    with the layers and sizes that these imply, but keep their random weights.
    """
    fetch, load = WeightsEnum.get_state_dict, nn.Module.load_state_dict

    def get_state_dict(weights: WeightsEnum, *args: Any, **kwargs: Any) -> Any:
        return NoWeights() if is_restoring() else fetch(weights, *args, **kwargs)

    def load_state_dict(module: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        return None if isinstance(state_dict, NoWeights) else load(module, state_dict, *args, **kwargs)

    token = _restoring.set(True)
    try:
        with (
            _lock,
            patch.object(WeightsEnum, "get_state_dict", get_state_dict),
            patch.object(nn.Module, "load_state_dict", load_state_dict),
        ):
            yield
    finally:
        _restoring.reset(token)


def is_restoring() -> bool:
    """Tell whether a network that is being built gets its weights from a checkpoint afterwards."""
    return _restoring.get()


@contextmanager
def offline() -> Iterator[None]:
    """Return a context in which this thread opens no connection, starts no program and unpickles no object.

    Raises:
        UntrustedCheckpointError: where Python code within it tries to.
    """
    _install_hook()
    token = _offline.set(True)
    try:
        yield
    finally:
        _offline.reset(token)


@cache
def _install_hook() -> None:
    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in BARRED and _offline.get():
            raise UntrustedCheckpointError(f"it {BARRED[event]}, which loading a checkpoint must not")

    sys.addaudithook(hook)
