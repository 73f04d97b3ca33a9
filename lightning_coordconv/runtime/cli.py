"""The command line: ``lightning-coordconv {fit,validate,test,predict} -c configs/...``."""

import importlib
import sys
from typing import Any, NoReturn

import yaml
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI

from lightning_coordconv import __version__
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.task import BaseTask
from lightning_coordconv.runtime import configs
from lightning_coordconv.runtime.callbacks.defaults import default_callbacks
from lightning_coordconv.runtime.checkpoints import KEYWORDS, DurableCheckpointIO, load_checkpoint
from lightning_coordconv.runtime.distributed import destroy_process_group_at_exit, rendezvous_on_localhost
from lightning_coordconv.runtime.malloc import keep_freed_memory

COMMANDS = {"configs": "lightning_coordconv.runtime.configs", "advise": "lightning_coordconv.position.command"}
"""Commands that train nothing: the modules whose ``main`` runs them."""


class CoordConvParser(LightningArgumentParser):
    """LightningArgumentParser that says in one line which extra is missing."""

    def parse_args(self, args: Any = None, *more: Any, **options: Any) -> Any:
        """Parse arguments in which a config may be given by its name."""
        try:
            args = configs.with_paths(sys.argv[1:] if args is None else args)
        except ValueError as error:
            self.error(str(error))
        return super().parse_args(args, *more, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with a message; of one that is about a missing extra, the line that matters."""
        extras = [line.strip() for line in message.splitlines() if "pip install 'lightning-coordconv[" in line]
        super().error(extras[0] if extras else message, ex)


class CoordConvCLI(LightningCLI):
    """LightningCLI over our tasks and data; what can't work is refused in one line before anything is written."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Let one seed rule everything, and load checkpoints without running what is in them."""
        parser.add_argument("--figures", type=bool, default=True, help="whether to draw the task's figures and tables")
        parser.link_arguments("seed_everything", "data.init_args.seed")
        parser.set_defaults({"trainer.logger": {"class_path": "TensorBoardLogger", "init_args": {"save_dir": "logs"}}})

    def before_instantiate_classes(self) -> None:
        """Name the folder of logs after the configs."""
        configs.name_loggers(self.config[self.subcommand])

    def _parse_ckpt_path(self) -> None:
        """Keep the configuration as it is given: a checkpoint must fit it, and never replaces it."""

    def instantiate_classes(self) -> None:
        """Build task, data and trainer, and see that they go together."""
        try:
            super().instantiate_classes()
            missing = self.model.sample_keys - self.datamodule.sample_keys
            if missing:
                raise ValueError(
                    f"{type(self.model).__name__} reads {sorted(missing)}, which the samples of "
                    f"{type(self.datamodule).__name__} do not have: they have {sorted(self.datamodule.sample_keys)}"
                )
            self.model.save_hyperparameters(self._specification("model"))
            options = self.config[self.subcommand]
            path = options.get("ckpt_path")
            if path is not None and path not in KEYWORDS:
                load_checkpoint(path, self.model, options.get("weights_only"))
        except (ValueError, TypeError, ImportError, OSError, MisconfigurationException) as error:
            self._parser(self.subcommand).error(str(error))

    def _specification(self, key: str) -> dict[str, Any]:
        """Return the arguments that an object was built from, as plain data, in the form that Lightning saves."""
        dumped = yaml.safe_load(self.parser.dump(self.config, skip_link_targets=False, skip_none=False, format="yaml"))
        given = dumped[self.subcommand][key]
        arguments = {**(given.get("init_args") or {}), **(given.get("dict_kwargs") or {})}
        return {
            "_class_path": given["class_path"],
            "_instantiator": "pytorch_lightning.cli.instantiate_module",
            **arguments,
        }

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the callbacks that every run has, and the way it writes checkpoints."""
        seed, trainer = self._get(self.config_init, "seed_everything"), self._get(self.config_init, "trainer")
        task, ckpt_path = self.model, self.config[self.subcommand].get("ckpt_path")
        task.draws_figures = self._get(self.config_init, "figures")
        trainer["callbacks"] = default_callbacks(
            task.monitor, task.mode, task.stopping_threshold, seed, ckpt_path, trainer
        )
        plugins = trainer.get("plugins") or []
        plugins = [DurableCheckpointIO(), *(plugins if isinstance(plugins, list) else [plugins])]
        if SLURMEnvironment.detect() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            plugins.append(SLURMEnvironment(auto_requeue=False))  # what is done on a signal is up to Preemption
        trainer["plugins"] = plugins
        built = super().instantiate_trainer(**kwargs)
        self.store = rendezvous_on_localhost(built)
        return built

    def _run_subcommand(self, subcommand: str) -> None:
        """Run it; what the user can mend ends it in one line and the exit code 1."""
        try:
            super()._run_subcommand(subcommand)
        except (ConnectionError, EOFError, RuntimeError) as error:  # as torch reports that a loading process is gone
            if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader "):
                raise
            reason = str(error).strip().rstrip(".") or type(error).__name__
            raise SystemExit(
                f"error: {reason}: loading processes (data.num_workers) die where memory runs "
                "out, and hang where a file system is gone; --ckpt_path last goes on from the last checkpoint"
            ) from error
        except (OSError, FloatingPointError, CheckpointError) as error:
            raise SystemExit(f"error: {error}") from error

    def after_fit(self) -> None:
        """Test the best weights, so that one command ends with its result."""
        if not self.trainer.interrupted:
            best = getattr(self.trainer.checkpoint_callback, "best_model_path", None)
            self.trainer.test(self.model, self.datamodule, ckpt_path=best or None, verbose=False, weights_only=True)


def main(args: ArgsType = None) -> None:
    """Run the command line.

    Args:
        args: arguments as a list; those of the process by default.
    """
    words = sys.argv[1:] if args is None else args
    if isinstance(words, list) and words and words[0] in COMMANDS:
        importlib.import_module(COMMANDS[words[0]]).main(words[1:])
        return
    keep_freed_memory()
    CoordConvCLI(
        BaseTask,
        BaseDataModule,
        args=args,
        parser_class=CoordConvParser,
        seed_everything_default=0,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"version": __version__, "description": "Train and use convolutions that know where they are."},
    )
    destroy_process_group_at_exit()
