"""Bridges to other libraries, one module each; this package imports none of them, and nothing imports this package."""

from __future__ import annotations

__all__ = ()
