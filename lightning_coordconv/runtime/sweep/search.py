"""Class and parser of a hyperparameter's search space; functions that run or resume Optuna's studies and score runs."""

import json
import math
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import yaml

from lightning_coordconv.core.extras import extra
from lightning_coordconv.runtime.sweep.processes import processes

if TYPE_CHECKING:
    from optuna import Study, Trial

FORMS = "OPTION=uniform(LOW, HIGH), loguniform(LOW, HIGH), int(LOW, HIGH) or choice(A, B, ...)"


class Space(NamedTuple):
    """An option and the values that it may have.

    Args:
        option: its name without dashes, such as ``model.optimizer.init_args.lr``.
        kind: ``uniform``, ``loguniform``, ``int`` or ``choice``.
        values: two bounds, both included, or the choices as text.
    """

    option: str
    kind: str
    values: tuple[Any, ...]

    def suggest(self, trial: "Trial") -> str | int | float:
        """Return a value that a trial suggests."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.option, self.values)
        if self.kind == "int":
            return trial.suggest_int(self.option, *self.values)
        return trial.suggest_float(self.option, *self.values, log=self.kind == "loguniform")


def parse_space(text: str) -> Space:
    """Read what is typed after ``--search``.

    >>> parse_space("model.optimizer.init_args.lr=loguniform(1e-4, 0.1)")
    Space(option='model.optimizer.init_args.lr', kind='loguniform', values=(0.0001, 0.1))
    >>> parse_space("data.batch_size=choice(16, 32)").values
    ('16', '32')

    Raises:
        ValueError: if it has none of the forms, or its bounds are no finite numbers in rising order.
    """
    match = re.fullmatch(r"-*([\w.]+)=(uniform|loguniform|int|choice)\((.*)\)", text.strip())
    if match is None:
        raise ValueError(f"--search {text!r} has none of the forms {FORMS}")
    option, kind, inside = match.groups()
    try:
        values = split_list(f"[{inside}]")
    except yaml.YAMLError as error:
        raise ValueError(f"--search {text!r}: the values in brackets cannot be read") from error
    if kind == "choice":
        if len(set(values)) < max(2, len(values)):
            raise ValueError(f"--search {text!r}: a choice needs at least two values, all different")
        return Space(option, kind, values)
    convert = int if kind == "int" else float
    try:
        low, high = map(convert, values)
    except ValueError as error:
        number = "integers" if kind == "int" else "numbers"
        raise ValueError(f"--search {text!r}: {kind} needs two {number}, LOW and HIGH") from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high and (kind != "loguniform" or low > 0)):
        above = ", above 0" if kind == "loguniform" else ""
        raise ValueError(f"--search {text!r}: {kind} needs finite bounds, LOW less than HIGH{above}")
    return Space(option, kind, (low, high))


def split_list(text: str) -> tuple[str, ...]:
    """Return the entries of a list in YAML as they are typed, without quotes: ``fit`` reads them by an option's type.

    >>> split_list("[no, 1:30, 2024-01-01, [1, 2], 'a, b']")
    ('no', '1:30', '2024-01-01', '[1, 2]', 'a, b')

    Raises:
        yaml.YAMLError: if it is no list.
    """
    return tuple(
        node.value if isinstance(node, yaml.ScalarNode) else text[node.start_mark.index : node.end_mark.index]
        for node in yaml.compose(text, Loader=yaml.SafeLoader).value
    )


def best_value(summaries: Sequence[dict[str, Any]], metric: str, maximize: bool) -> float:
    """Return the mean over runs of the best value in validation, as the best checkpoint is chosen.

    Raises:
        ValueError: if a run has no finite value of the metric, or its task says that the other end of it is best.
    """
    best = []
    for summary in summaries:
        wanted = summary.get("best", {}).get(metric)
        if wanted == ("min" if maximize else "max"):
            raise ValueError(f"a search must --{wanted}imize {metric}: a {wanted}imum of it is best")
        values = [row[metric] for row in summary["curve"] if math.isfinite(row.get(metric, math.nan))]
        if not values:
            known = ", ".join(sorted({name for row in summary["curve"] for name in row if "/" in name}))
            raise ValueError(f"a run has no finite {metric!r} in validation: it has {known or 'no metrics'}")
        best.append(max(values) if maximize else min(values))
    return statistics.fmean(best)


def open_study(file: Path, name: str, maximize: bool) -> "Study":
    """Return the study of a name that is stored in a file, as it was left, or a new one.

    Trials that were interrupted are queued again, with the same options. One process at a time may use the file.

    Raises:
        ValueError: if the file holds anything else.
    """
    first = file.read_bytes().partition(b"\n")[0] if file.is_file() else b""
    if first and b'"op_code"' not in first:  # Optuna would append to it before it fails
        raise ValueError(f"{file} is not the file of a study")
    with extra("search", "searches for options"):
        import optuna
        from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction: Literal["maximize", "minimize"] = "maximize" if maximize else "minimize"
    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(file)))
        study = optuna.create_study(study_name=name, storage=storage, direction=direction, load_if_exists=True)
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not the file of a study") from error
    # A sampler that started with the same seed again would suggest the first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def optimize(study: "Study", objective: Callable[["Trial"], float], trials: int, jobs: int) -> None:
    """Run trials until a study has as many complete ones as wanted, some of them at a time.

    A trial that a stop of the sweep interrupts stays open, and is tried again by the next :func:`open_study`.
    """
    from optuna.trial import TrialState

    def run(number: int) -> None:
        trial = study.ask()
        try:
            value = objective(trial)
        except ValueError:
            if not processes.stopped:
                study.tell(trial, state=TrialState.FAIL)
            raise
        study.tell(trial, value)

    left = trials - len(study.get_trials(states=[TrialState.COMPLETE]))
    processes.map(run, range(left), jobs)
