"""Package of modules of the command ``sweep``: train configs with several seeds, or search hyperparameters."""
