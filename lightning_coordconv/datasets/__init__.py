"""Data sets whose samples are dicts, made from (split, seed)."""

from lightning_coordconv.datasets.not_so_clevr import NotSoClevr

__all__ = ["NotSoClevr"]
