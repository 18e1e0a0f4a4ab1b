"""Attention of one new token a sequence to its key/value cache, with grouped heads: the decode step of a transformer."""
