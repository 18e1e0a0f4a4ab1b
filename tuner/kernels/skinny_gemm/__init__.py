"""Matrix products with up to 16 rows of activations: the linear layers of a model while a few sequences decode."""
