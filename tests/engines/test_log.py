from __future__ import annotations

import pytest

from tuner.engines.log import is_port_taken, reason, verdict

# As vLLM 0.32 printed them, shortened.
TOO_MUCH_MEMORY = """\
(EngineCore pid=80) INFO 11-28 03:19:33 [core.py:133] Initializing a V1 LLM engine (v0.32.0)
(VllmWorker-0 pid=61) ERROR 11-28 03:19:56 [multiproc_executor.py:953] WorkerProc failed to start.
(VllmWorker-0 pid=61) ERROR 11-28 03:19:56 [multiproc_executor.py:953] Traceback (most recent call last):
(VllmWorker-0 pid=61) ERROR 11-28 03:19:56 [multiproc_executor.py:953]     raise ValueError(
(VllmWorker-0 pid=61) ERROR 11-28 03:19:56 [multiproc_executor.py:953] ValueError: Available memory on node 0 is less
(EngineCore pid=80) ERROR 11-28 03:20:01 [core.py:1510] EngineCore failed to start.
(EngineCore pid=80) ERROR 11-28 03:20:01 [core.py:1510] Exception: WorkerProc initialization failed due to an exception
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
REFUSED_BY_PYDANTIC = """\
Traceback (most recent call last):
  File "cli/main.py", line 73, in main
pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig
  Value error, max_num_batched_tokens (128) is smaller than max_model_len (512).
    For further information visit https://errors.pydantic.dev/2.12/v/value_error
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TOO_MUCH_MEMORY, "ValueError: Available memory on node 0 is less"),
        ("usage: vllm serve\nvllm: error: unrecognized arguments: --nosuch", "unrecognized arguments: --nosuch"),
        ("RuntimeError: Engine core initialization failed. See root cause above.", "RuntimeError: Engine core init"),
        ("OSError: [Errno 98] Address already in use", "OSError: [Errno 98] Address already in use"),
        ("\x1b[31mERROR\x1b[0m 11-28 03:19:56 [a.py:1] KeyError: 'x'", "KeyError: 'x'"),
        ("all is well", ""),
        ("", ""),
    ],
)
def test_the_reason_is_the_first_error_that_is_no_echo(text: str, expected: str) -> None:
    assert reason(text).startswith(expected)
    assert bool(reason(text)) == bool(expected)


def test_what_pydantic_says_below_its_error_belongs_to_it() -> None:
    assert "max_num_batched_tokens (128) is smaller than max_model_len (512)" in reason(REFUSED_BY_PYDANTIC)


def test_a_server_without_memory_is_hopeless() -> None:
    line = "(EngineCore pid=1) WARNING 11-28 03:19:56 [x.py:1] KV cache space (64 GiB) is larger than available memory"
    assert verdict(line) == "KV cache space (64 GiB) is larger than available memory"
    assert verdict("INFO: loading weights took 3 seconds; GPU memory is enough") == ""


def test_a_port_that_is_taken_is_told_apart() -> None:
    assert is_port_taken("OSError: [Errno 98] Address already in use")
    assert not is_port_taken(TOO_MUCH_MEMORY)
