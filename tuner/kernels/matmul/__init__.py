"""Matrix products of a model's linear layers on a GPU, with what follows them fused in."""
