"""For authors of plugins: starting one, checking it, trying it out, installing it.

What belongs here: whatever works on a plugin's folder. Nothing on the way of a run imports it.
"""
