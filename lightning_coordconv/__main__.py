"""``python -m lightning_coordconv`` is the command line."""

from lightning_coordconv.cli import main

main()
