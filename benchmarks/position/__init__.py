"""Package of modules of the position benchmark: small tasks with and without coordinates, and a test of ``advise``."""
