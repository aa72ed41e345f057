"""The ledger in one SQLite file per user.

Tables, their steps from version to version, and every line of SQL belong here, and nowhere else.
"""

FILE_NAME = "ledger.sqlite"
