"""Trains configs with several seeds, and searches hyperparameters, in processes of one thread each."""
