"""Approvals: what somebody asked to run, what others answered, and whether that is enough.

Which plans need an approval is said by the rules, in ``lom.admission.rules``.
"""
