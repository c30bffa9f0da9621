"""uvicorn's own command line, as a program: `uvicorn_main.py MODULE:app --port ...`."""

from __future__ import annotations

from uvicorn.main import main

if __name__ == "__main__":
    main()
