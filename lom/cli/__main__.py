"""``python -m lom.cli`` is ``rune``."""

from lom.cli import main

main()
