"""Classes and functions that export a network to ONNX or torch.export, and keep the file if it computes the same."""

import io
import itertools
import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.files import complete_file
from lightning_coordconv.core.size_conditions import unmet_conditions, without_conditions

Format = Literal["onnx", "torch", "sb3"]
SUFFIXES: dict[str, Format] = {".onnx": "onnx", ".pt2": "torch", ".zip": "sb3"}
"""Formats by the suffix of the file."""
METADATA = "lightning_coordconv"
"""Name of the entry that describes the inputs, in JSON."""
SIZES = ((64, 96), (96, 64), (128, 160))
"""Heights and widths of the images that a network for images of any size is checked on."""
OTHER_LENGTHS = (1, 301, 203)
"""Lengths of the axes that may have any length, in one more input that an ONNX file is checked on."""
COMPARISONS = 3
"""Number of inputs that do not meet a condition on sizes, on which it is seen whether the condition matters."""
LARGEST = 2**21
"""Number of values of the largest of these inputs."""

P = ParamSpec("P")
T = TypeVar("T")
Run = Callable[[tuple[Tensor, ...]], list[Tensor]]


class ExportError(ValueError):
    """A network cannot be exported, or what was exported computes something else."""


@dataclass(frozen=True)
class Exportable:
    """A network in the form in which it is exported.

    Attributes:
        module: maps the inputs, in evaluation mode, to a tensor or a tuple of tensors.
        examples: inputs that the check runs on, at least one; the first is what the exporter sees.
        inputs: their names.
        outputs: the names of the outputs.
        axes: which axes of the first input may have any length, by number and name.
        metadata: plain data about inputs and outputs.
        tolerance: allowed difference of an output, as a share of its largest magnitude.
        traced: use the exporter that traces, where the other one cannot export the network; then only ONNX is possible.
        context: in which the exporter runs.
        align: puts the outputs of the file, its first argument, in the order of those of the network, where rounding
            can change the order of nearly equal scores.
    """

    module: nn.Module
    examples: tuple[tuple[Tensor, ...], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: Mapping[int, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-4
    traced: bool = False
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    align: Callable[[list[Tensor], list[Tensor]], list[Tensor]] | None = None


def isolated(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function that runs in an empty context: a coordinate frame around the call would get into the file."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return Context().run(function, *args, **kwargs)

    return run


def choose_format(path: Path, given: Format | None) -> Format:
    """Return the format that is given, or else that of the suffix.

    Raises:
        ExportError: if neither says which one, or they contradict each other.
    """
    known = SUFFIXES.get(path.suffix.lower())
    if given is None and known is None:
        raise ExportError(f"{path} has none of the suffixes {', '.join(SUFFIXES)}: use one of them, or give --format")
    if given is not None and known not in (None, given):
        raise ExportError(f"{path} has the suffix of the format {known}, but --format is {given}")
    return given or known  # type: ignore[return-value]  # one of them is given


@torch.no_grad()
def export(exportable: Exportable, path: Path, format: Format) -> float:
    """Export a network, run the file, and keep it if its outputs are those of the network.

    Args:
        exportable: the network.
        path: where to. The file appears there once it has been checked.
        format: ``"onnx"``, which is run by onnxruntime, or ``"torch"``, an ``ExportedProgram``.

    Returns:
        The largest difference of an output from that of the network, as a share of its largest magnitude.

    Raises:
        ExportError: if the exporter fails, or outputs differ by more than the tolerance.
        OSError: if the file cannot be written.
        ModuleNotFoundError: if onnxruntime or the exporter is not installed.
    """
    with complete_file(path) as part, quiet():
        with exportable.context(), explained("the exporter cannot export this network"):
            (_to_onnx if format == "onnx" else _to_torch)(exportable, part)
        run = open_exported(part, format, exportable.inputs)
        examples = list(exportable.examples)
        if format == "onnx" and exportable.axes:  # an ExportedProgram refuses the sizes that it does not hold for
            lengths = dict(zip(exportable.axes, OTHER_LENGTHS, strict=False))
            shape = [lengths.get(axis, known) for axis, known in enumerate(examples[0][0].shape)]
            examples.extend(_taken(exportable, [shape]))
        differences = [found for example in examples for found in _compare(exportable, run, example)]
        if not differences:
            raise ExportError(
                "nothing was compared: the network finds nothing in the images of the check; give images in which it "
                "finds something (--images), or train it longer first"
            )
    return max(differences)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Return a context in which any error of an exporter or a runtime becomes an :class:`ExportError`.

    Args:
        what: the sentence that the error begins with.
    """
    try:
        yield
    except (OSError, ImportError, ExportError):
        raise
    except Exception as error:  # exporters and runtimes raise whatever they meet
        raise ExportError(f"{what}: {_reason(error)}") from error


def open_exported(path: Path, format: Format, inputs: tuple[str, ...]) -> Run:
    """Return a function that runs an exported file.

    Args:
        path: the file.
        format: ``"onnx"`` or ``"torch"``.
        inputs: names of the inputs.
    """
    if format == "torch":
        with quiet():
            module = torch.export.load(path).module()
        return lambda values: _listed(module(*values))
    with extra("export", "exports"):
        import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(values: tuple[Tensor, ...]) -> list[Tensor]:
        arrays = {name: value.numpy() for name, value in zip(inputs, values, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, arrays)]

    return run


def _to_onnx(exportable: Exportable, path: Path) -> None:
    with extra("export", "exports"):
        import onnx
        import onnxruntime  # noqa: F401  # runs the file
        import onnxscript  # noqa: F401  # the exporter needs it
    options: dict[str, Any] = {"input_names": list(exportable.inputs), "output_names": list(exportable.outputs)}
    if exportable.traced:
        lengths = {name: {0: f"{name}_count"} for name in exportable.outputs}
        torch.onnx.export(
            exportable.module, exportable.examples[0], path, dynamo=False, dynamic_axes=lengths, **options
        )
    else:
        program = to_program(exportable)
        check_sizes(exportable, program)
        torch.onnx.export(program, (), path, dynamo=True, external_data=False, verbose=False, **options)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {METADATA: json.dumps(exportable.metadata)})
    onnx.save(model, path)


def _to_torch(exportable: Exportable, path: Path) -> None:
    if exportable.traced:
        raise ExportError("torch.export cannot export this network: export it to .onnx")
    content = io.BytesIO()  # torch ends the process where it cannot write
    torch.export.save(to_program(exportable), content, extra_files={METADATA: json.dumps(exportable.metadata)})
    path.write_bytes(content.getbuffer())


def to_program(exportable: Exportable) -> torch.export.ExportedProgram:
    """Return a network as torch.export traces it."""
    axes = dict.fromkeys(exportable.axes, torch.export.Dim.DYNAMIC)
    others = [None] * (len(exportable.inputs) - 1)
    inputs = tuple(each.clone() for each in exportable.examples[0])  # of a view the program checks the tensor behind it
    return torch.export.export(exportable.module, inputs, dynamic_shapes=(axes, *others))


def check_sizes(exportable: Exportable, program: torch.export.ExportedProgram) -> None:
    """Refuse a program that is right only under a condition on sizes, because ONNX does not keep conditions.

    Where a condition is not met the program is compared with the network: many say only that no length is 1.

    Raises:
        ExportError: naming the condition.
    """
    free = without_conditions(program)
    unmet = unmet_conditions(program, exportable.examples[0], exportable.axes)
    for condition, shapes in sorted(unmet.items(), key=lambda found: -len(found[1])):  # names one that fails often
        small = [shape for shape in shapes if shape.numel() <= LARGEST]
        try:
            if not small:
                raise ExportError("no input is small enough to be compared")
            for example in itertools.islice(_taken(exportable, small), COMPARISONS):
                list(_compare(exportable, lambda values: _listed(free(*values)), example))
        except ExportError as error:
            raise ExportError(
                f"the network branches on the size of its input, and an ONNX file is right only where {condition}: "
                "give the size of the images (--size HEIGHT WIDTH), or export in float32 to .pt2, which refuses others"
            ) from error


def _taken(exportable: Exportable, shapes: Iterable[Sequence[int]]) -> Iterator[tuple[Tensor, ...]]:
    """Yield random inputs, the first of each of the shapes, if the network takes them."""
    for shape in shapes:
        image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        example = (image, *exportable.examples[0][1:])
        try:
            exportable.module(*example)
        except Exception:  # networks raise whatever they meet
            continue
        yield example


def _compare(exportable: Exportable, run: Run, example: tuple[Tensor, ...]) -> Iterator[float]:
    """Yield the largest relative difference of each output that is not empty, for one input."""
    expected = _listed(exportable.module(*example))
    with explained("nothing is written, since the exported network does not run"):
        found = run(example)
    if exportable.align is not None and [a.shape for a in found] == [b.shape for b in expected]:
        found = exportable.align(found, expected)
    for name, mine, theirs in zip(exportable.outputs, found, expected, strict=True):
        if mine.shape != theirs.shape:
            chance = "" if exportable.align is None else "; of equal scores, as before training, rounding decides"
            raise ExportError(
                f"the output {name!r} of the exported network has the shape {tuple(mine.shape)}, and the network's has "
                f"{tuple(theirs.shape)}; nothing is written{chance}"
            )
        if not theirs.numel():
            continue
        scale = theirs.abs().max().double().clamp(min=1e-12)
        difference = ((mine.double() - theirs.double()).abs().max() / scale).item()
        if not difference <= exportable.tolerance:  # also if NaN
            shape = " x ".join(map(str, example[0].shape))
            raise ExportError(
                f"the output {name!r} of the exported network differs from the network's for an input of {shape}: by "
                f"{difference:.2g} of its largest value, and {exportable.tolerance:g} is allowed; nothing is written"
            )
        yield difference


def _listed(outputs: Any) -> list[Tensor]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def _reason(error: Exception) -> str:
    """Return the first line of an error, or of the error that it was raised from."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Return a context without the messages of exporters and quantisers, which are about their own code."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
