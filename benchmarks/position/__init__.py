"""The bench where position matters: small tasks, each trained with and without coordinates; see ``__main__.py``."""
