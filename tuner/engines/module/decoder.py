"""A decoder of the usual kind with random, seeded weights: an example to tune, and small ones for tests."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tuner.engines.module.model import Model
from tuner.engines.module.quality import QualityLimits

__all__ = ["Decoder", "decoder_30m", "decoder_tiny"]

_SEED = 2026
# With logits this far apart a trained decoder's next token is neither certain nor anyone's guess. Much flatter ones
# would hide what a precision does to the distribution.
_LOGITS_SPREAD = 3.0


class Block(nn.Module):
    """Causal attention and a gated MLP, each after a norm and with a way around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.RMSNorm(width)
        self.gate_up = nn.Linear(width, 6 * width, bias=False)
        self.down = nn.Linear(3 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the next layer's input, of the shape of `x`: (items, tokens, width)."""
        tokens, width = x.shape[1:]
        qkv = self.qkv(self.attention_norm(x)).view(-1, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(-1, tokens, width))
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        result: torch.Tensor = x + self.down(functional.silu(gate) * up)
        return result


class Decoder(nn.Module):
    """From tokens to the logits of the next ones, at every position."""

    def __init__(self, *, vocabulary: int, width: int, layers: int, heads: int, tokens: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(tokens, width))
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.head.weight, std=_LOGITS_SPREAD / width**0.5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits (items, tokens, vocabulary) for `tokens` (items, tokens)."""
        x = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = block(x)
        result: torch.Tensor = self.head(self.norm(x))
        return result


def decoder_30m() -> Model:
    """Return a decoder of 30 million parameters that reads 64 tokens an item."""
    return _model(vocabulary=8192, width=512, layers=8, heads=8, tokens=64)


def decoder_tiny() -> Model:
    """Return a decoder that takes a test a millisecond."""
    return _model(vocabulary=64, width=32, layers=1, heads=2, tokens=8)


def _model(*, vocabulary: int, width: int, layers: int, heads: int, tokens: int) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        module = Decoder(vocabulary=vocabulary, width=width, layers=layers, heads=heads, tokens=tokens)

    def inputs(count: int, generator: torch.Generator) -> tuple[torch.Tensor]:
        return (torch.randint(vocabulary, (count, tokens), generator=generator),)

    return Model(module, inputs, limits=QualityLimits(kl_logits=1e-2), tokens=tokens)
