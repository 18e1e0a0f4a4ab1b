"""Attention of one new token a sequence to its key/value cache, with grouped heads: a transformer's decode step."""
