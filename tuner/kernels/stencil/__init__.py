"""A seven-point stencil on a grid of three dimensions: one step of the heat equation."""
