"""Files that people write, and whose they are: YAML and JSON, read strictly, faults by place.

What every reader of such files shares belongs here: syntax, lines and ``$.path``, the words for
what breaks a schema, whose files are obeyed, what editors leave behind. What may stand in a file is
said in ``specs/``, and what it means in the room it is for.
"""
