"""Rotary position embedding of the heads of queries, or keys."""
