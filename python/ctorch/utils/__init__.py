"""Helpers around the tensor library: data loading and hooks."""

from __future__ import annotations

from . import data, hooks

__all__ = ["data", "hooks"]
