"""Approvals: what somebody asked to run, what others answered, and whether that is enough.

Requests and answers are files in one folder, without a server. Which plans need an approval is
said by the rules, in ``lom.admission.policy``.
"""
