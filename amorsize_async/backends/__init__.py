"""Where work runs: workers of our own (`local`), threads and anybody's executor (`foreign`), behind one `Pool`."""

from __future__ import annotations

from .foreign import ForeignPool, open_threads, width_of
from .local import LocalPool
from .place import Place
from .pool import Pool
from .slot import SlotSettings

__all__ = ("ForeignPool", "LocalPool", "Place", "Pool", "SlotSettings", "open_threads", "width_of")
