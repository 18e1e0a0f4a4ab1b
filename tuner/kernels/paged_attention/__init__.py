"""Attention of the tokens that are being decoded to caches that lie in pages."""
