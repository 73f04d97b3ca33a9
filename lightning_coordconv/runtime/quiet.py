"""Function that hides library messages, warnings and thread errors that tell the user of a run nothing useful."""

import logging
import threading
import warnings

HIDDEN = ("litlogger", "litmodels", "TPU available", "HPU available", "Seed set to")
"""Parts of messages: advertisements, devices that nobody asked for, and the seed, which the summary has."""
_report_error = threading.excepthook


def silence_libraries() -> None:
    """Hide Lightning's advertisements and advice, and deprecations that only a new release of a library can remove.

    TensorBoard's thread that writes prints no traceback either: its error is raised again by what it is asked to write.
    """
    threading.excepthook = _report_unless_raised_again
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(f"{library}.utilities.rank_zero").addFilter(_is_shown)
        logging.getLogger(f"{library}.utilities.seed").addFilter(_is_shown)
    warnings.filterwarnings("ignore", ".*is smaller than the logging interval", module="pytorch_lightning")
    warnings.filterwarnings("ignore", ".*there is no last checkpoint available")  # RunFolder says it
    warnings.filterwarnings(
        "ignore", "Checkpoint directory .* exists and is not empty"
    )  # as that of a run that resumes
    warnings.filterwarnings("ignore", ".*LeafSpec.. is deprecated", FutureWarning, "pytorch_lightning")
    for module in ("jsonargparse", "pytorch_lightning", "lightning_fabric", "torch", "torchmetrics", "tensorboard"):
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=module)


def _is_shown(record: logging.LogRecord) -> bool:
    return not any(name in record.getMessage() for name in HIDDEN)


def _report_unless_raised_again(error: threading.ExceptHookArgs) -> None:
    if not (isinstance(error.exc_value, OSError) and type(error.thread).__module__.startswith("tensorboard.")):
        _report_error(error)
