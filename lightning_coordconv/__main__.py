"""``python -m lightning_coordconv`` is the command line."""

from lightning_coordconv.runtime.cli import main

main()
