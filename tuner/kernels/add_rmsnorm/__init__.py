"""Residual add followed by RMSNorm, as before every block of a transformer."""
