"""Package of the command line, checkpoints, distributed start-up and callbacks that runs of every domain share."""
