"""The known targets: read from files, executables and AWS, merged, and picked by selectors.

Everything from a source to a ``Target`` belongs here. Whether a target is reached does not.
"""
