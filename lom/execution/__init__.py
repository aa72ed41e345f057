"""Carries a plan out: which target is next, what holds it up, what is tried again, what it came to.

Threads, locks, events and results of a run belong here. Reaching a host is ``lmm``'s.
"""
