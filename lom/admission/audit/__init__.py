"""The audit log: who asked for what where, what was decided, how it ended; one JSON line each.

``chain`` writes lines and ``verify`` checks them, knowing nothing of what stands in them; that is
in ``records``. Whether a run needs a line is for ``lom.admission.admit`` to decide.
"""
