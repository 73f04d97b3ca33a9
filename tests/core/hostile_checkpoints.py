"""Program for tests that loads checkpoints with hostile hyperparameters, and prints outcomes and what was executed."""

import copy
import json
import sys
import typing
from pathlib import Path
from types import FrameType
from typing import Any

import torch

COMMAND = {"cmd": "touch executed"}
OURS = ("torch", "lightning_coordconv")
RUNNING = ("exec", "compile", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pty.spawn",
           "shutil.rmtree", "webbrowser.open")  # fmt: skip
CALLABLES = (
    "subprocess.getoutput", "subprocess.Popen", "os.system", "os.popen", "os.abort", "os._exit", "timeit.timeit",
    "runpy.run_path", "builtins.exec", "builtins.eval", "builtins.__import__", "importlib.import_module",
    "pty.spawn", "antigravity.geohash", "this.s", "code.interact", "pdb.run", "webbrowser.open", "shutil.rmtree",
    "torch.os.system", "torch.load", "torch.hub.load", "torch.serialization.os.abort", "torch.jit.load",
    "torch.utils.cpp_extension.load", "torch.compiler.disable", "lightning_coordconv.__main__.main",
    "lightning_coordconv.runtime.cli.main", "functools.partial", "types.FunctionType", "logging.FileHandler",
    "pathlib.Path", "multiprocessing.Process", "threading.Thread", "torch.distributed.run.main",
)  # fmt: skip
OTHER = {"path": "hostile.ckpt", "kinds": [], "trust": True}
BUILDERS = (
    "lightning_coordconv.core.restore.load_task", "lightning_coordconv.core.restore.restore",
    "lightning_coordconv.layers.convert.to_coordconv",
    "torch.nn.utils.fusion.fuse_conv_bn_eval", "torchvision.ops.misc.Conv2dNormActivation.forward",
)  # fmt: skip
"""Functions that return networks, and are no builders of torchvision."""


class Innocent(torch.optim.SGD):
    """An optimiser of somebody's own."""


def specification(name: str) -> dict[str, Any]:
    return {"class_path": name, "init_args": COMMAND}


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"init_args": value}
    return value


def shared(levels: int) -> list[Any]:
    """A list of 2 ** levels values that takes no memory."""
    value: list[Any] = [0, 0]
    for _ in range(levels):
        value = [value, value]
    return value


def cases() -> dict[str, dict[str, Any]]:
    """Return changes to the hyperparameters by name of the case."""
    net, adam = "lightning_coordconv.coordinates.DeconvDecoder", "torch.optim.Adam"
    found = {f"optimizer {name}": {"optimizer": specification(name)} for name in CALLABLES}
    found |= {f"lr_scheduler {name}": {"lr_scheduler": specification(name)} for name in CALLABLES[:6]}
    found |= {f"net {name}": {"net": specification(name)} for name in CALLABLES[:6]}
    found |= {f"_class_path {name}": {"_class_path": name} for name in CALLABLES[:6]}
    lambdas = {"class_path": "torch.optim.lr_scheduler.LambdaLR"}
    found |= {
        f"lr_lambda {name}": {"lr_scheduler": lambdas | {"init_args": {"lr_lambda": value}}}
        for name in CALLABLES[:4]
        for value in (specification(name), {"class_path": name})
    }
    found |= {
        "names only": {"optimizer": "os.system", "net": "os.abort"},
        "wrong kind": {"optimizer": {"class_path": "torch.nn.Linear"}},
        "network for an optimiser": {"net": {"class_path": adam}},
        "nested": {"net": {"class_path": net, "init_args": {"canvas": specification("os.system")}}},
        "nested in a sequence": {
            "net": {"class_path": "torch.nn.Sequential", "init_args": {"arg": [specification("os.system")]}}
        },
        "dict_kwargs": {"net": {"class_path": net, "dict_kwargs": {"canvas": specification("subprocess.getoutput")}}},
        "list of specifications": {"net": [specification("os.system")]},
        "number": {"optimizer": {"class_path": 3}},
        "module": {"net": {"class_path": "torch.nn"}},
        "further keys": {"optimizer": {"class_path": adam, "run": "os.system"}},
        "init_args is a list": {"optimizer": {"class_path": adam, "init_args": ["os.system"]}},
        "interpolation": {"lr_scheduler_interval": "${oc.env:HOME}"},
        "deep": {"net": deep(100)},
        "huge": {"net": {"values": [0] * 20_000}},
        "shared": {"net": {"values": shared(60)}},
        "key": {"net": {3: "os.system"}},
        "foreign task": {"_class_path": "torch.nn.Linear"},
        "another instantiator": {"_instantiator": "os.system", "net": specification("os.system")},
    }  # fmt: skip
    found |= {f"builder {name}": {"net": {"class_path": name, "init_args": OTHER}} for name in BUILDERS}
    return found


def main(trained: str) -> None:
    import lightning_coordconv.runtime.cli
    from lightning_coordconv.coordinates import CoordinateClassification

    assert lightning_coordconv.runtime.cli
    CoordinateClassification.load_from_checkpoint(trained)  # imports what loading needs
    checkpoint, outcomes = torch.load(trained, weights_only=True), {}
    events: list[str] = []
    known = set(sys.modules)

    def reads_annotations(frame: FrameType | None) -> bool:
        """Tell whether ``typing`` evaluates the annotations of a class that passed as an argument's class."""
        while frame is not None:
            if frame.f_code is typing.get_type_hints.__code__:
                return True
            frame = frame.f_back
        return False

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import" and arguments[0] not in known and arguments[0].split(".")[0] not in OURS:
            events.append(f"import {arguments[0]}")
        elif event in RUNNING and not reads_annotations(sys._getframe(1)):
            events.append(f"{event} {arguments}"[:200])

    sys.addaudithook(audit)
    for case, change in cases().items():
        hostile = copy.deepcopy(checkpoint)
        hostile["hyper_parameters"] |= change
        torch.save(hostile, "hostile.ckpt")
        events.clear()
        try:
            CoordinateClassification.load_from_checkpoint("hostile.ckpt")
            outcome = "loaded"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        outcomes[case] = (outcome, list(events))
    assert not Path("executed").exists()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
