"""``rune doctor``: whether this machine, its accounts and its targets have what RUNE needs.

Checks and what to do about them belong here. How they look does not.
"""
