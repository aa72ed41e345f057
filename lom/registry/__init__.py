"""The known plugins: where they are found, what they say of themselves, which bytes they are.

Reading and choosing plugins belongs here. Making, trying and installing them is in
``lom.authoring``.
"""
