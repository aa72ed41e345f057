"""May it run? Who asks, what the rules say, what others have approved of, and the record of it.

What can refuse a plan belongs here, for every way in. Carrying a plan out does not.
"""
