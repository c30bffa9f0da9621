"""Tests of what stands on the library: services and notebooks, as real processes. `nox -s services`."""
