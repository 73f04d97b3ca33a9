"""Package of modules of the position benchmark: small tasks with and without coordinates, to find where these help."""
