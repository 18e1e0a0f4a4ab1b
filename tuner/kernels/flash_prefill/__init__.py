"""Causal attention of a prompt to itself, with grouped heads: a transformer's prefill step."""
