"""LightningCLI and parser of ``fit``, ``validate``, ``test``, ``predict``: option checks, callbacks, test after fit."""

import functools
import inspect
import json
import math
import operator
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from numbers import Number
from pathlib import Path
from typing import Any, ClassVar, NoReturn, get_args

from jsonargparse.typing import register_type
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar
from pytorch_lightning.cli import LightningArgumentParser
from pytorch_lightning.loggers import CSVLogger

from lightning_coordconv import __version__
from lightning_coordconv.core._lightning import ConfiguredCLI
from lightning_coordconv.core.arguments import check_seed
from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.description import INSTANTIATOR
from lightning_coordconv.core.nulls import restore_nulls
from lightning_coordconv.core.offline import restoring
from lightning_coordconv.core.predictions import writes_predictions
from lightning_coordconv.core.protocols import DataOfTask, TaskOfData, check_samples
from lightning_coordconv.core.task import BaseTask
from lightning_coordconv.runtime import shipped_configs
from lightning_coordconv.runtime.callbacks.defaults import default_callbacks, judge_after_validation
from lightning_coordconv.runtime.callbacks.saved_config import SavedConfig
from lightning_coordconv.runtime.checkpoints import DurableCheckpointIO, load_checkpoint
from lightning_coordconv.runtime.classes import share_num_classes
from lightning_coordconv.runtime.command_help import DESCRIPTIONS, in_own_words
from lightning_coordconv.runtime.csv_rows import keep_rows
from lightning_coordconv.runtime.distributed import destroy_process_group_at_exit, rendezvous_on_localhost
from lightning_coordconv.runtime.errors import OneLineParser, explain, from_lightning, from_user_code, one_line
from lightning_coordconv.runtime.evaluation_folder import leave_fits
from lightning_coordconv.runtime.malloc import keep_freed_memory
from lightning_coordconv.runtime.option_help import explain as explain_option
from lightning_coordconv.runtime.precision import choose_precision
from lightning_coordconv.runtime.quiet import silence_libraries
from lightning_coordconv.runtime.ranges import check_ranges
from lightning_coordconv.runtime.unused_folder import missing_folders, remove_unused
from lightning_coordconv.runtime.weights import KEYWORDS, check_version, choose_weights, find_newest

REFUSED = (ValueError, TypeError, ImportError, OSError, MisconfigurationException)
"""Errors of options that cannot work together."""
EXPLAINED = (ValueError, OSError, EOFError, FloatingPointError, MisconfigurationException, ModuleNotFoundError)
"""Errors of a run that one line explains. Any other is a fault of the program, and keeps its traceback."""


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return value
    raise ValueError(f"expected a number, got {value!r}")


register_type(Number, serializer=_number, deserializer=_number)  # jsonargparse writes torchvision's as text otherwise


class CoordConvParser(LightningArgumentParser):
    """LightningArgumentParser that reports an error in one line."""

    def format_help(self, *formatter: Any) -> str:
        """Return the help in the words of this command line, without long lists of classes."""
        return in_own_words(super().format_help(*formatter))

    def parse_args(self, args: Any = None, *more: Any, **options: Any) -> Any:
        """Parse arguments in which a config may be given by its name, and ``null`` is no word."""
        try:
            args = shipped_configs.with_paths(sys.argv[1:] if args is None else args)
            answer = explain_option(args)
        except ValueError as error:
            self.error(str(error))
        if answer is not None:
            print(answer)
            raise SystemExit(0)
        config = super().parse_args(args, *more, **options)
        restore_nulls(config.get(config.get("subcommand"), config), args)
        return config

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with the line of the message that matters; an error in a user's module keeps its traceback."""
        if not self.exit_on_error:
            super().error(message, ex)
        if OneLineParser.debug or (ex is not None and from_user_code(ex)):
            raise ex or ValueError(message)
        print(f"error: {one_line(message)}", file=sys.stderr)
        raise SystemExit(2)


class CoordConvCLI(ConfiguredCLI):
    """LightningCLI over the package's tasks and data, which refuses what cannot work before anything is written."""

    log_dir: str | None = None
    """The folder of the logger, once there is one."""
    started: ClassVar[tuple[Trainer, list[Path]] | None] = None
    """The trainer, and that folder and those around it, as far as the run makes them."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Use one seed for everything, and TensorBoard by default."""
        parser.add_argument("--figures", type=bool, default=True, help="whether to draw the task's figures and tables")
        parser.link_arguments("seed_everything", "data.init_args.seed", check_seed)
        parser.set_defaults({"trainer.logger": {"class_path": "TensorBoardLogger", "init_args": {"save_dir": "logs"}}})

    def before_instantiate_classes(self) -> None:
        """Name the folder of logs after the configs, and order what happens after a validation."""
        shipped_configs.name_loggers(self.options)
        if self.subcommand != "fit":
            leave_fits(self.options)
        judge_after_validation(self.options.trainer.callbacks or [])

    @property
    def options(self) -> Any:
        """The configuration of the subcommand."""
        return self.config[self.subcommand]

    def instantiate_classes(self) -> None:
        """Build task, data and trainer, and check that they fit together."""
        try:
            check_ranges(self.options.as_dict(), self.subcommand)
            share_num_classes(self.options)
            evaluated = self.subcommand != "fit" and self.options.get("ckpt_path") != "none"
            with restoring() if evaluated else nullcontext():  # a checkpoint replaces pretrained weights
                super().instantiate_classes()
        except REFUSED as error:
            self.parser.error(str(error), error)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Check that task, data and weights fit; add the callbacks that every run has, and its way to checkpoints."""
        self._check()
        self.model.draws_figures = self.options.figures
        options = self.config_init[self.subcommand]
        seed, trainer = options.seed_everything, options.trainer
        task: TaskOfData = self.model
        if self.subcommand == "predict" and options.get("return_predictions") is None:
            self._check_writers(
                [*(trainer.get("callbacks") or []), *(self.model.figures() if self.options.figures else [])]
            )
            options["return_predictions"] = False  # the memory would grow with each image; callbacks write predictions
        for callback in trainer.get("callbacks") or []:
            if isinstance(callback, ModelCheckpoint | EarlyStopping) and callback.monitor is not None:
                task.check_mode(callback, callback.monitor)
        resumed, data = self.options.get("ckpt_path"), self._specification("data")
        trainer["callbacks"] = default_callbacks(
            task.monitor, task.mode, task.stopping_threshold, seed, resumed, trainer, data
        )
        plugins = trainer.get("plugins") or []
        plugins = [DurableCheckpointIO(), *(plugins if isinstance(plugins, list) else [plugins])]
        if SLURMEnvironment.detect() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            plugins.append(SLURMEnvironment(auto_requeue=False))  # Preemption handles its signals
        trainer["plugins"] = plugins
        if trainer.get("enable_model_summary") is None:
            trainer["enable_model_summary"] = False  # RunSummary prints the number of weights
        if self.options.get("weights_only") is None:
            options["weights_only"] = True
        if self.subcommand == "test":
            options["verbose"] = False  # RunSummary prints the metrics
        path = options["ckpt_path"] = choose_weights(str(self.subcommand), self.options.get("ckpt_path"))
        if path is not None and path not in KEYWORDS:
            load_checkpoint(path, self.model, options["weights_only"])
        built = super().instantiate_trainer(**kwargs)
        folders = [(type(logger), logger.log_dir) for logger in built.loggers]
        if len(set(folders)) < len(folders):
            raise ValueError(f"loggers of one class must have different folders, got {len(folders)} in {built.log_dir}")
        for logger in built.loggers:
            if isinstance(logger, CSVLogger):
                keep_rows(logger)
        choose_precision(built)
        type(self).log_dir = built.log_dir
        type(self).started = built, missing_folders(built.log_dir)
        if path == "last" and self.subcommand == "fit":
            check_version(self.options.trainer.logger, built)
        elif path in KEYWORDS:
            options["ckpt_path"] = find_newest(path, built)
            load_checkpoint(options["ckpt_path"], self.model, options.get("weights_only"))
        self.store = rendezvous_on_localhost(built)
        return built

    def after_fit(self) -> None:
        """Test the best weights, so that one command ends with its result."""
        if self.trainer.interrupted:
            return
        if self.trainer.global_step == 0:
            raise ValueError("training made no optimiser step, so there is nothing to test")
        if self.trainer.limit_test_batches == 0:
            self.trainer.print("limit_test_batches is 0: the run ends without a test")
            return
        best = getattr(self.trainer.checkpoint_callback, "best_model_path", "")
        score = getattr(self.trainer.checkpoint_callback, "best_model_score", None)
        if score is not None and math.isinf(score):  # Lightning's ModelCheckpoint calls NaN infinite
            best = ""
        if not best:
            self.trainer.print("no checkpoint was chosen as the best: the test uses the last weights")
        self.trainer.test(self.model, self.datamodule, ckpt_path=best or None, verbose=False, weights_only=True)
        self.after_test()

    def after_validate(self) -> None:
        """Refuse a validation of nothing."""
        self._check_batches("validate", self.trainer.validate_loop.max_batches)

    def after_test(self) -> None:
        """Refuse a test of nothing."""
        self._check_batches("test", self.trainer.test_loop.max_batches)

    def after_predict(self) -> None:
        """Refuse a prediction of nothing."""
        self._check_batches("predict", self.trainer.predict_loop.max_batches)

    def _check_writers(self, callbacks: Sequence[Callback]) -> None:
        """Check that a prediction leaves something."""
        if not any(writes_predictions(callback) for callback in callbacks if not isinstance(callback, ProgressBar)):
            raise ValueError(
                f"nothing would write the predictions of {type(self.model).__name__}: leave out --figures false, or "
                "return from its figures(), or add with --trainer.callbacks+=, a callback that does: "
                "lightning_coordconv.core.PredictionTable or, for boxes, lightning_coordconv.detection.CocoResults"
            )

    def _check_batches(self, command: str, batches: list[int | float]) -> None:
        """Check that an evaluation had a batch: a loader of the user's can be empty."""
        if not sum(batches) and not self.trainer.interrupted:
            raise ValueError(f"{type(self.datamodule).__name__} has no batch to {command}, so there is no result")

    def _check(self) -> None:
        """Record what the task was built from, and check that its arguments are valid and fit the data."""
        self.model.save_hyperparameters(self._specification("model"))
        task: TaskOfData = self.model
        data: DataOfTask = self.datamodule
        trainer = self.options.trainer
        if trainer.default_root_dir is not None and trainer.logger:
            raise ValueError(
                "trainer.default_root_dir has no effect beside a logger, which has a folder: set "
                "--trainer.logger.init_args.save_dir, or leave the logger out with --trainer.logger false"
            )
        task.check()
        task.check_precision(trainer.precision)
        check_samples(task, data)

    def _specification(self, key: str) -> dict[str, Any]:
        """Return the arguments that an object was built from, as plain data, in the form that Lightning saves."""
        dumped = json.loads(self.parser.dump(self.config, skip_link_targets=False, skip_none=False, format="json"))
        given = dumped[self.subcommand][key]
        arguments = {**(given.get("init_args") or {}), **(given.get("dict_kwargs") or {})}
        return {"_class_path": given["class_path"], "_instantiator": INSTANTIATOR, **arguments}


def put_integers_first() -> None:
    """Make ``1`` an integer where an option of the Trainer takes integers and floats.

    ``Union[float, int]`` equals ``Union[int, float]``, so Python returns whichever a process has created first. After
    Stable-Baselines3 was imported, ``--trainer.limit_val_batches=1`` would be 1.0, which means all batches.
    """
    hints = inspect.unwrap(Trainer.__init__).__annotations__
    for name, hint in hints.items():
        kinds = get_args(hint)
        if kinds[:2] == (float, int):
            hints[name] = functools.reduce(operator.or_, (int, float, *kinds[2:]))


def main(words: list[str]) -> None:
    """Run one of Lightning's commands.

    Args:
        words: The command and its arguments.
    """
    put_integers_first()
    keep_freed_memory()
    silence_libraries()
    try:
        CoordConvCLI(
            BaseTask,
            BaseDataModule,
            args=None if words == sys.argv[1:] else words,  # Lightning warns of arguments given twice
            parser_class=CoordConvParser,
            seed_everything_default=0,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            save_config_callback=SavedConfig,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "lightning-coordconv", "version": __version__, **DESCRIPTIONS},
        )
    except Exception as error:
        if CoordConvCLI.started is not None:
            remove_unused(*CoordConvCLI.started)
        if (
            OneLineParser.debug
            or from_user_code(error)
            or not (isinstance(error, EXPLAINED) or from_lightning(error) or str(error).startswith("DataLoader "))
        ):
            raise
        raise SystemExit(f"error: {explain(error, CoordConvCLI.log_dir)}") from error
    destroy_process_group_at_exit()
