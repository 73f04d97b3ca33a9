"""Function that reads from code which modules and variables of modules it uses, and which of them it sets."""

import dis
import types
from collections.abc import Iterator, Mapping
from typing import NamedTuple

ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR")
SETS = ("STORE_ATTR", "DELETE_ATTR")
LOCALS = ("LOAD_FAST", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF", "LOAD_NAME")
"""Instructions, and parts of names of joined ones, that read a variable which the code may have imported into."""
SKIPPED = ("CACHE", "PRECALL", "EXTENDED_ARG", "COPY")
"""Instructions between a name and its attribute, as ``COPY`` in ``module.number += 1``."""


class Use(NamedTuple):
    """A module, or a variable of one, that code uses.

    Attributes:
        module: which the code imports, with a dot for each level of a relative import; ``None`` for the code's own.
        names: the variable, then attributes, each of what is before it; empty for the imported module itself.
        stored: whether the code sets or deletes the last of the names.
    """

    module: str | None
    names: tuple[str, ...]
    stored: bool = False


def uses(code: types.CodeType, around: Mapping[str, Use] | None = None) -> Iterator[Use]:
    """Yield what code, and the functions within it, use of modules.

    Args:
        code: of a function.
        around: local variables of the code around it, with what they import.
    """
    imported = {name: use for name, use in (around or {}).items() if name in code.co_freevars}
    steps = [step for step in dis.get_instructions(code) if step.opname not in SKIPPED]
    changed = {step.argval for step in steps if step.opname in SETS}
    latest, selected = Use(None, ()), False
    for i, step in enumerate(steps):
        arguments = step.argval if isinstance(step.argval, tuple) else (step.argval,)  # two of a joined instruction
        if step.opname == "IMPORT_NAME":  # after the level and the names of "from ... import ..."
            level, selected = steps[i - 2].argval, steps[i - 1].argval is not None
            latest = Use("." * level + (step.argval if selected else step.argval.partition(".")[0]), ())
        elif step.opname == "IMPORT_FROM":  # without such names it is of "import package.module as ..."
            latest = Use(latest.module, (*(() if selected else latest.names), step.argval))
        elif step.opname.startswith("STORE_") and steps[i - 1].opname in ("IMPORT_NAME", "IMPORT_FROM"):
            imported[arguments[0]] = latest
        if step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            yield Use(None, arguments, stored=True)
        found = [imported[name] for name in arguments if name in imported] if _reads_local(step.opname) else []
        if not found and step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found = [Use(None, arguments)]
        for use in found:
            names = list(use.names)
            for following in steps[i + 1 :]:
                if following.opname not in ATTRIBUTES:
                    break
                names.append(following.argval)
            yield Use(use.module, tuple(names), bool(names) and names[-1] in changed)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from uses(constant, imported)


def _reads_local(operation: str) -> bool:
    return any(part in operation for part in LOCALS)


def stored_variables(code: types.CodeType) -> Iterator[str]:
    """Yield the names of variables of functions around code that it, or a function in it, sets (``nonlocal``)."""
    yield from (each.argval for each in dis.get_instructions(code) if each.opname in ("STORE_DEREF", "DELETE_DEREF"))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from stored_variables(constant)
