"""Settings: which there are, where they come from, and which source wins.

Values and the files, variables and options they come from belong here, the rules that bind runs
(``policy``) among them. What the rules say to a run is for ``lom.admission``.
"""
