"""All that a surface may ask: plan, judge, start, go on, follow, report, describe, check.

Use cases belong here, each once for the command line, a server or a library user. Reading
arguments and writing answers belong to the surfaces.
"""
