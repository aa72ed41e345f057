"""One module for each command of ``rune``: its options, what it asks, what it prints.

``lom.cli.app`` names them as strings, so that a command is imported when it is asked for.
"""
