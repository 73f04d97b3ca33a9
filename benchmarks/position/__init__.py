"""Package of the position benchmark: small tasks trained with and without coordinates, and ``advise`` run on each."""
