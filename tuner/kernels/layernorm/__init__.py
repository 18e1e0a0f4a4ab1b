"""LayerNorm with weight and bias, as before every block of GPT-2 and of a vision transformer."""
