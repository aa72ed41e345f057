"""``python cli.py …`` in a checkout is the installed ``rune …``."""

from __future__ import annotations

from lom.cli import main

if __name__ == "__main__":
    main()
