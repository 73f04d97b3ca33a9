"""Runs the command line as ``python -m lightning_coordconv``."""

from lightning_coordconv.runtime.cli import main

main()
