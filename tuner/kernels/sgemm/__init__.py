"""Products of matrices in float32, and what follows them in a network: the linear layers of an encoder or a prefill."""
