"""A kernel under Triton's autotuner, for tests of its cache."""

import triton
import triton.language as tl


@triton.autotune(
    configs=[
        triton.Config({"BLOCK": 64}, num_warps=2, num_stages=2),
        triton.Config({"BLOCK": 128}, num_warps=4),
        triton.Config({"BLOCK": 256}, num_warps=8, maxnreg=128),
    ],
    key=["M", "N"],
    cache_results=True,
)
@triton.jit
def scaled(x, out, M, N, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + offsets, 2 * tl.load(x + offsets, mask=offsets < M * N), mask=offsets < M * N)


PRUNED = triton.autotune(
    configs=scaled.configs, key=["M"], prune_configs_by={"early_config_prune": lambda configs, *_, **__: configs}
)(scaled.fn)
