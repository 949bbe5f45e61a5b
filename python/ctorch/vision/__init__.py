"""Images: datasets, and transforms of their samples."""

from __future__ import annotations

from . import datasets, transforms

__all__ = ["datasets", "transforms"]
