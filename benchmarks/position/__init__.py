"""Package of the position benchmark: trains small tasks with and without coordinates, to find where these help."""
