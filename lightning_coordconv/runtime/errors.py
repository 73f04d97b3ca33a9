"""Parser and functions that give errors in one line, tell whose code raised them, and how to resume the run."""

import argparse
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
PACKAGE = str(Path(__file__).parents[1])
IN_WORKER = re.compile(r"Caught (\w+) in [^\n]*\.\nOriginal Traceback")
"""Beginning of what torch makes of an error in a loading process: its traceback, which ends in its message."""
BOILERPLATE = re.compile(
    r"Does not validate against any of the Union subtypes|Subtypes: |Errors:$|Expected a <class 'NoneType'>|"
    r"Given value|Type typing\.|Problem with given class_path|Parser key |Expected a path but|$"
)


class OneLineParser(argparse.ArgumentParser):
    """Parser of a command's arguments that reports an error in one line, without the usage.

    Attributes:
        debug: Whether errors keep their traceback, in all commands.
    """

    debug = False

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit with 2; with ``debug``, raise the error that is being handled, if there is one."""
        if self.debug and (handled := sys.exc_info()[1]) is not None:
            raise handled
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2)


def one_line(message: str) -> str:
    """Return the line that matters of a message by jsonargparse: the option, what is wrong with it, and its value."""
    lines = [line.strip().removeprefix("- ") for line in original(message).splitlines()]
    installing = [line for line in lines if "pip install 'lightning-coordconv[" in line]
    if installing:
        return installing[0]
    download = re.search(r"<urlopen error (.*)>", message)
    if download:  # torch.hub has printed from where to where
        return (
            f"a download failed: {download[1]}; without a connection, put the file where the line above names its "
            "path, or begin with random weights: a detector with the overlay -c detection/ablations/from_scratch, a "
            "network of segmentation/masks_... with --model.net.init_args.weights_backbone null"
        )
    reasons = [line for line in lines if not BOILERPLATE.match(line)]
    reason = (reasons or lines or [""])[0].partition(". Got value: Namespace(")[0]
    reason = re.sub(r"^Call to compute_fn of link .* failed: ", "", reason)
    reason = re.sub(r"Expected an? <class '([^']+)'>", r"expected \1", reason)
    choices = re.findall(r"Expected an? typing\.Literal\[(.+)\]$", message, re.MULTILINE)
    given = re.search(r"Given value: (.*)", message)
    if choices and given:  # the first reason may be of another member of a union
        reason = f"expected one of {', '.join(choices)}, got {given[1]!r}"
    base = re.match(r"Import path (?:(\S+) )?does not correspond to a subclass of (Base\w+)$", reason)
    if base:
        path = base[1] or (given[1] if given else "another class")
        reason = f"expected a subclass of lightning_coordconv.core.{base[2]}, got {path}"
    keys = re.findall(r'Parser key "([^"]+)"', message)
    typed = re.search(r"NestedArg\(key='([^']+)', val=(.*)\)", message)
    if typed and keys:
        keys = [keys[0], typed[1].replace("init_args.", "")]
        if typed[2].strip("'\"") not in reason and "is not accepted" not in reason:
            reason += f", got {typed[2]}"
    return f"{'.'.join(keys)}: {reason}" if keys else reason


def original(message: str) -> str:
    """Return the message of an error; of one in a loading process, what that error said."""
    caught = IN_WORKER.match(message)
    said = re.findall(rf"^(?:\w+\.)*{caught[1]}: (.*)", message, re.MULTILINE) if caught else []
    return said[-1] if said else message


def from_user_code(error: BaseException) -> bool:
    """Tell whether an error, or one that it was raised from, passed through a file of the user."""
    return any(not name.startswith((PACKAGE, *LIBRARIES, "<")) for link in _chain(error) for name in _files(link))


def _files(error: BaseException) -> list[str]:
    """Return the files that an error passed through, in the loading process too where it was raised in one."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if IN_WORKER.match(str(error)):
        files += re.findall(r'^ *File "(.+)", line \d+, in ', str(error), re.MULTILINE)
    return files


def from_lightning(error: BaseException) -> bool:
    """Tell whether Lightning itself raised an error, as it does for options that do not fit the run."""
    frames = traceback.extract_tb(error.__traceback__)
    packages = ("pytorch_lightning", "lightning_fabric")
    return type(error) is RuntimeError and bool(frames) and any(name in frames[-1].filename for name in packages)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def explain(error: BaseException, log_dir: str | None) -> str:
    """Return an error in one line, with what is known about its cause.

    Args:
        error: ended the run.
        log_dir: the folder that the run writes to.
    """
    reason = (original(str(error)).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    if reason.startswith("Expected more than 1 value per channel when training"):
        return (
            f"{reason}: a batch norm in training needs two values or more, and a batch has one image; choose a "
            "data.batch_size that leaves no batch of one at the end of an epoch"
        )
    files = {frame.filename.replace("\\", "/") for frame in traceback.extract_tb(error.__traceback__)}
    if isinstance(error, EOFError | ConnectionError | RuntimeError):
        if any("torch/utils/data/" in file for file in files):
            return (
                f"{reason}: loading processes (data.num_workers) die where memory runs out, and hang where a file "
                f"system is gone; {how_to_continue(log_dir)}"
            )
        if any("/vec_env/" in file or "gymnasium/vector/" in file for file in files):
            return f"{reason}: the process of an environment ended; {how_to_continue(log_dir)}"
    if isinstance(error, OSError) and error.filename is not None and _is_above(error.filename, log_dir):
        return f"{reason}: the folder of the run cannot be made; choose another trainer.logger.save_dir"
    if isinstance(error, OSError) and error.errno is not None and error.filename is None and log_dir is not None:
        return f"{reason}, while the run wrote to {log_dir}"
    return reason


def _is_above(path: object, log_dir: str | None) -> bool:
    """Tell whether a path is the folder of the logs, or one that holds it."""
    return log_dir is not None and Path(str(path)) in (Path(log_dir), *Path(log_dir).parents)


def how_to_continue(log_dir: str | Path | None) -> str:
    """Return which option continues a run that has ended early.

    Args:
        log_dir: the folder that the run wrote to.
    """
    last = Path(log_dir or "", "checkpoints", "last.ckpt")
    return f"--ckpt_path {last} continues this run" if log_dir and last.is_file() else "there is no checkpoint yet"
