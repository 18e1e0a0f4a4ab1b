"""Cross-entropy of logits over a vocabulary, as training computes it for each token."""
