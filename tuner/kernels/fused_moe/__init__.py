"""Mixture of experts: each token with the weights of the experts it was sent to, in one launch."""
