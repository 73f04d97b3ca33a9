"""Package of modules for the command line and for runs of all tasks: callbacks, checkpoints, sweeps, comparison."""
