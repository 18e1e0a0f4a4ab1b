"""One's own module, tuned: `python examples/own_engine.py`, or `tuner tune engine:torch --model FILE:factory`."""

import torch
from torch import nn

import tuner
from tuner.engines.module.model import Model
from tuner.engines.module.quality import QualityLimits


def factory() -> Model:
    module = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256), nn.GELU(), nn.Linear(256, 10))

    def inputs(count: int, generator: torch.Generator) -> tuple[torch.Tensor]:
        return (torch.randn(count, 256, generator=generator),)

    return Model(module, inputs, limits=QualityLimits(rel_error=0.02, top1_agreement=0.9))


if __name__ == "__main__":
    workload: dict[str, str | int] = {"model": f"{__file__}:factory", "items": 1024, "batch": 16}
    result = tuner.tune("engine:torch", workload, trials=10)
    print(dict(result.config), result.speedup, result.speedup_interval)
