"""Package of the command line, and of what runs of all tasks share: callbacks, checkpoint files, sweeps, comparison."""
