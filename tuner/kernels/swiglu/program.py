"""The Triton source: a block of columns of some rows."""

import triton
import triton.language as tl

from tuner.kernels.gpu.activation import silu


@triton.jit(do_not_specialize=["M"])
def swiglu(gate_up_ptr, out_ptr, M: tl.int32, N, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Write BLOCK columns of ROWS rows."""
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    mask = (rows < M) & (columns < N)
    gate = tl.load(gate_up_ptr + rows * 2 * N + columns, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(gate_up_ptr + rows * 2 * N + N + columns, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + rows * N + columns, (silu(gate) * up).to(out_ptr.dtype.element_ty), mask=mask)
