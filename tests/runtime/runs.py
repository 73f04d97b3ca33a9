"""Arguments of a short fit for tests of the command line, and the folder in which its runs are."""

from pathlib import Path

CONFIG = Path(__file__).parents[2] / "configs" / "coordinates" / "classification_quadrant_deconv.yaml"
SMALL = ("-c", str(CONFIG), "--data.canvas=16", "--data.size=3", "--model.net.init_args.canvas=16",
         "--model.net.init_args.mul=1", "--trainer.limit_val_batches=1", "--trainer.check_val_every_n_epoch=null",
         "--trainer.val_check_interval=1", "--trainer.enable_progress_bar=false")  # fmt: skip
RUN = Path("logs", "coordinates", "classification_quadrant_deconv")
TWO = ("--trainer.max_steps=2", "--trainer.logger.init_args.version=mine")
