"""Weight-only int8 matrix-vector products: the linear layers of a quantised model while it decodes."""
