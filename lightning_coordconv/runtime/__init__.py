"""The command line, checkpoints, distributed start-up and callbacks that every run shares."""
