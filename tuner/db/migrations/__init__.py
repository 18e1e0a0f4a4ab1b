"""The migrations of the store's tables, which Alembic runs; `tuner.db.schema` is what calls it.

A new one is a file in `versions/`, and its number is the last of `tuner.db.schema.REVISIONS`.
"""
