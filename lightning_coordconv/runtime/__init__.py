"""Package of what all runs share: command line, checkpoint files, distributed start-up, comparison, callbacks."""
