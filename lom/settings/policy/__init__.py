"""Admission rules: values, their schema, time windows, who asks, and what the rules say to a run.

Here belongs what can be decided from values alone. Reading files is in ``lom.settings.load``; asking the
rules for a plan, and the audit line about it, are in ``lom.admission.admit``.
"""
