"""Package of the command ``sweep``: trains configs with several seeds, or searches hyperparameters, in parallel."""
