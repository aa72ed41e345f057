"""Admission rules as people write them: values made from files, time windows.

What files ask for, and what several of them come to, belongs here. What the rules say to a run is
in ``lom.admission``.
"""
