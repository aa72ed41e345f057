"""Files that people write, and whose they are: YAML and JSON, read strictly, faults by place.

What every reader of such files shares belongs here: syntax, lines and ``$.path``, whose files are
obeyed, what editors leave behind. What may stand in a file belongs to the room it is for.
"""
