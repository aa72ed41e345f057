"""How runs, documents and errors look: tables, JSON, NDJSON, YAML, CSV, live progress.

Turning values into bytes for people or programs belongs here. Deciding what to show, and when,
belongs to the surface that asks.
"""
