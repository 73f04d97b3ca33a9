"""Trains configs with several seeds, and searches for options, in processes of one thread each."""
