"""Linear layers whose weights are integers of 8 or 4 bits, with activations of 16 bits: decoding with few rows."""
