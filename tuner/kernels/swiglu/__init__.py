"""The gate of a SwiGLU feed-forward block: silu(gate) * up."""
