"""Softmax over the columns of each row: attention scores, and the logits of a sampled token."""
