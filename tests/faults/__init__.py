"""What the library survives, measured: faults injected into items, workers, parents and whole programs."""
