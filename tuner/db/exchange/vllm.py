"""vLLM's files of tuned Triton configs, for its fused mixture of experts and its block-scaled products of 8 bits.

A file's name tells the weights' shape, the device, the dtype and the shape of the blocks that share a scale; it maps
numbers of tokens to configs. vLLM looks for the first kind in `VLLM_TUNED_CONFIG_FOLDER` and in its own folder, for the
second in its own folder only, and takes the config of the number of tokens that is nearest, the first of two that are
equally near. Names, fields and rules are those of vLLM 0.32 (`fused_moe.py`, `fp8_utils.py`); SGLang reads the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuner.db.exchange.document import Document, read_document, write_documents
from tuner.db.exchange.finding import Content, Finding, Origin, Reading, Request, Selection, Writing, named_device
from tuner.errors import ExchangeError, TunerError
from tuner.tunable import load
from tuner.types import Config, Device, Scalar, Winner, Workload

__all__ = ["FUSED_MOE", "OURS", "PARAMETERS", "SCALED_MM", "VllmFiles", "file_name", "nearest", "table_of"]

FUSED_MOE = "vllm:fused_moe"
"""vLLM's kernel for a mixture of experts: `E` experts, `N` columns of the down projection, `M` tokens."""
SCALED_MM = "vllm:w8a8_block_scaled_mm"
"""vLLM's product of 8-bit numbers with a scale for each block: `N` outputs, `K` columns, `M` tokens."""
OURS = "triton:fused_moe"
"""The kernel of ours that has the same parameters."""

_MOE_NAME = re.compile(
    r"E=(?P<E>\d+),N=(?P<N>\d+),device_name=(?P<device>[^,]+)(,dtype=(?P<dtype>[^,]+))?"
    r"(,block_shape=\[(?P<block_n>\d+),(?P<block_k>\d+)\])?(,backend=(?P<backend>[^,]+))?\.json"
)
_MM_NAME = re.compile(
    r"N=(?P<N>\d+),K=(?P<K>\d+),device_name=(?P<device>[^,]+),dtype=(?P<dtype>[^,]+),"
    r"block_shape=\[(?P<block_n>\d+),(?P<block_k>\d+)\]\.json"
)
_NUMBERS = frozenset({"E", "N", "K", "block_n", "block_k"})
# What vLLM's kernels of Triton cannot be launched without; another backend has other parameters.
_NEEDED = ("BLOCK_SIZE_M", "BLOCK_SIZE_N", "BLOCK_SIZE_K", "GROUP_SIZE_M", "num_warps")
PARAMETERS = (*_NEEDED, "num_stages")
"""What a config for NVIDIA's GPUs has."""
# The one thing in a file that is no number of tokens; only the reader of the mixture of experts takes it out.
_VERSION = "triton_version"
_MOST_TOKENS = 1 << 31
# Weights of 16 bits: what a file's name says of them, and what we call them.
_PLAIN_DTYPES: Mapping[str, str] = {"": "", "bf16": "bf16", "float16": "fp16"}
_MOST_REASONS = 3


def nearest(configs: Mapping[int, Config], tokens: int) -> Config:
    """Return the config that vLLM takes for a number of tokens.

    Example:
        >>> nearest({8: Config(num_warps=4), 64: Config(num_warps=8)}, 36)
        Config(num_warps=4)
    """
    return configs[min(configs, key=lambda known: abs(known - tokens))]


def table_of(name: str, text: str) -> dict[int, Config]:
    """Return the configs of one file by their number of tokens, in its order.

    Raises:
        ExchangeError: its name or its text is none of vLLM's.

    Example:
        >>> config = {name: 16 for name in PARAMETERS}
        >>> list(table_of("E=8,N=64,device_name=X.json", json.dumps({"64": config, "1": config})))
        [64, 1]
    """
    findings = _findings(Document(Path(name), text, ""))
    return {finding.workload.integer("M"): finding.config for finding in findings}


@dataclass(frozen=True, slots=True)
class VllmFiles:
    """Reads a file or a folder of vLLM's, and writes a folder that vLLM loads.

    Findings are of `vllm:fused_moe` and `vllm:w8a8_block_scaled_mm`, whose workloads are what the files' names tell,
    with the number of tokens `M`. With `--kernel triton:fused_moe` and the fields `K` and `TOPK`, those of 16-bit
    weights become findings of our kernel, for gate and up projections together: their `N` is twice the file's. Winners
    of all three can be written.

    Example:
        >>> VllmFiles().program
        'vLLM'
    """

    program: str = "vLLM"
    about: str = "a folder of tuned configs of fused_moe and of block-scaled w8a8 products"
    content: Content = Content.WINNERS

    def takes(self, tunable: str) -> bool:
        """Return whether vLLM has files for a kernel."""
        return tunable in (OURS, FUSED_MOE, SCALED_MM)

    def read(self, path: Path, request: Request) -> Reading:
        """Return the findings of a file, or of all files of a folder that have names like vLLM's.

        Raises:
            ExchangeError: a file cannot be read or is not of this format, or there is none.
        """
        files = [path]
        notes: list[str] = []
        if path.is_dir():
            files = sorted(file for file in path.glob("*.json") if _parsed(file.name) is not None)
            others = sorted(set(path.glob("*.json")) - set(files))
            if others:
                notes.append(f"{len(others)} .json files with other names left out, {others[0].name} first")
            if not files:
                raise ExchangeError(f"{path} has no file that is named like vLLM's: E=...,N=...,device_name=....json")
        findings = [finding for file in files for finding in _findings(read_document(file))]
        if request.kernel and request.kernel not in (FUSED_MOE, SCALED_MM):
            findings, more = _as_ours(findings, request, path)
            notes += more
        elif request.kernel:
            findings = [finding for finding in findings if finding.tunable == request.kernel]
        return Reading(tuple(findings), notes=tuple(notes))

    def write(self, path: Path, selection: Selection) -> Writing:
        """Write the winners to files in the folder `path`, each with the name by which vLLM finds it.

        Raises:
            ExchangeError: a winner is of a kernel that vLLM has no files for, two winners are for the same entry of a
                file, or a file cannot be written.
        """
        tables: dict[str, dict[int, tuple[Winner, Config]]] = {}
        for winner in selection.winners:
            name, tokens, config = _entry(winner)
            table = tables.setdefault(name, {})
            other, known = table.get(tokens, (winner, config))
            if known != config:
                raise ExchangeError(
                    f"winners {other.id} and {winner.id} are both for {tokens} tokens in {name}, which tells no more "
                    f"of a workload: {dict(other.task.workload)} and {dict(winner.task.workload)}; choose with -w"
                )
            table[tokens] = winner, config
        texts = {path / name: _text(name, table) for name, table in sorted(tables.items())}
        notes = [f"vLLM reads the files of E=... where VLLM_TUNED_CONFIG_FOLDER={path}"] if tables else []
        if any(_MM_NAME.fullmatch(name) for name in tables):
            notes.append(
                "vLLM reads the files of N=...,K=... only from its own folder: copy them to "
                "vllm/model_executor/layers/quantization/utils/configs"
            )
        return Writing(write_documents(texts), sum(map(len, tables.values())), tuple(notes))


def _parsed(name: str) -> tuple[str, dict[str, str]] | None:
    """Return whose file this is and what its name tells; None if it is nobody's."""
    for tunable, pattern in ((FUSED_MOE, _MOE_NAME), (SCALED_MM, _MM_NAME)):
        if found := pattern.fullmatch(name):
            return tunable, {field: text for field, text in found.groupdict().items() if text is not None}
    return None


def _findings(document: Document) -> list[Finding]:
    parsed = _parsed(document.path.name)
    if parsed is None:
        raise ExchangeError(
            f"{document.path} is not named like vLLM's files, E=...,N=...,device_name=....json or "
            "N=...,K=...,device_name=...,dtype=...,block_shape=[...,...].json; its name tells what it is for"
        )
    tunable, told = parsed
    fields: dict[str, Scalar] = {
        name: int(text) if name in _NUMBERS else text for name, text in told.items() if name != "device"
    }
    data = document.json_object()
    versions = {}
    if _VERSION in data and tunable == FUSED_MOE:
        version = data.pop(_VERSION)
        if not isinstance(version, str):
            raise document.error(f"field {_VERSION!r}", f"is {version!r}, not a text")
        versions = {"triton": version}
    origin = Origin.of("vLLM", document, versions)
    device = named_device(told["device"])
    found = []
    for key, values in data.items():
        if not (key.isascii() and key.isdigit() and 0 < int(key) < _MOST_TOKENS and key == str(int(key))):
            raise document.error(f"field {key!r}", "is no number of tokens")
        workload = Workload({**fields, "M": int(key)})
        found.append(Finding(tunable, workload, device, _config(document, key, values, "backend" in fields), origin))
    if not found:
        raise ExchangeError(f"{document.path} has a config for no number of tokens")
    return found


def _config(document: Document, key: str, values: Any, other_backend: bool) -> Config:
    if not isinstance(values, dict) or not values:
        raise document.error(f"field {key!r}", f"is {values!r}, not a config")
    for name, value in values.items():
        if not isinstance(value, bool | int | float | str):
            raise document.error(f"field {key!r}", f"has {name}={value!r}, which is no number, text or truth value")
    for name in () if other_backend else _NEEDED:
        value = values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise document.error(f"field {key!r}", f"has {name}={value!r}, and needs a whole number above 0")
    return Config(values)


def _as_ours(findings: Sequence[Finding], request: Request, path: Path) -> tuple[list[Finding], list[str]]:
    """Return what is of our kernel too, and in words what is not."""
    if request.kernel != OURS:
        raise ExchangeError(f"vLLM's files tell nothing of {request.kernel}; use --kernel {OURS}, or none")
    for name in ("K", "TOPK"):
        if name not in request.fields:
            raise ExchangeError(
                f"{path}: vLLM's files do not tell the field {name} of {OURS}; give it with -w {name}=..."
            )
    tunable = load(OURS)
    kept: list[Finding] = []
    left: dict[str, int] = {}
    for finding in findings:
        try:
            kept.append(_ours(finding, request, tunable))
        except TunerError as error:
            left[str(error)] = left.get(str(error), 0) + 1
    if not kept:
        raise ExchangeError(f"{path}: none of its configs is one of {OURS}: {next(iter(left))}")
    notes = [f"{count} configs left out: {reason}" for reason, count in list(left.items())[:_MOST_REASONS]]
    if rest := sum(list(left.values())[_MOST_REASONS:]):
        notes.append(f"{rest} configs left out for other reasons")
    return kept, notes


def _ours(finding: Finding, request: Request, tunable: Any) -> Finding:
    told = finding.workload
    dtype = _PLAIN_DTYPES.get(str(told.get("dtype", "")))
    if finding.tunable != FUSED_MOE or dtype is None or "block_n" in told or "backend" in told:
        raise ExchangeError(f"{OURS} multiplies weights of 16 bits, and nothing else")
    fields: dict[str, Scalar] = {"T": told.integer("M"), "N": 2 * told.integer("N"), "E": told.integer("E")}
    workload = tunable.workload({**fields, **({"dtype": dtype} if dtype else {}), **request.fields})
    names = tunable.search_space(workload, finding.device).names
    config = Config({name: finding.config[name] for name in names if name in finding.config})
    if extra := sorted(set(finding.config) - set(names) - _idle(finding.config)):
        raise ExchangeError(f"{OURS} has no parameter {extra[0]}")
    if broken := tunable.search_space(workload, finding.device).violated(config):
        raise ExchangeError(broken)
    return replace(finding, tunable=OURS, version=tunable.version, workload=workload, config=config)


def _idle(config: Config) -> set[str]:
    """Return the parameters that change nothing at the value they have."""
    return {name for name in ("SPLIT_K", "num_ctas") if config.get(name) == 1}


def _entry(winner: Winner) -> tuple[str, int, Config]:
    """Return the file in which vLLM looks for a winner, the number of tokens under which, and the config there."""
    workload, task = winner.task.workload, winner.task
    try:
        if task.tunable == OURS:
            outputs = workload.integer("N")
            if outputs % 2:
                raise ExchangeError(f"N={outputs} is odd, and cannot be of gate and up projections together")
            # vLLM's files for 16 bits do not tell bf16 from fp16.
            name = file_name(workload.integer("E"), outputs // 2, task.device, "", "")
            return name, workload.integer("T"), winner.config
        if task.tunable in (FUSED_MOE, SCALED_MM):
            dtype = workload.text("dtype") if "dtype" in workload else ""
            blocks = ""
            if "block_n" in workload:
                blocks = f"[{workload.integer('block_n')},{workload.integer('block_k')}]"
            if task.tunable == SCALED_MM:
                shape = f"N={workload.integer('N')},K={workload.integer('K')}"
                name = f"{shape},device_name={_device_name(task.device)},dtype={dtype},block_shape={blocks}.json"
            else:
                name = file_name(workload.integer("E"), workload.integer("N"), task.device, dtype, blocks)
                if "backend" in workload:
                    name = f"{name.removesuffix('.json')},backend={workload.text('backend')}.json"
            return name, workload.integer("M"), winner.config
    except (KeyError, TunerError) as error:
        raise ExchangeError(f"winner {winner.id} of {task.tunable} cannot be vLLM's: {error}") from error
    raise ExchangeError(
        f"winner {winner.id} is of {task.tunable}, which vLLM has no files for; use --kernel with one of: "
        f"{OURS}, {FUSED_MOE}, {SCALED_MM}"
    )


def file_name(experts: int, columns: int, device: Device, dtype: str = "", blocks: str = "") -> str:
    """Return the name by which vLLM finds the file of a mixture of experts.

    Args:
        experts: How many there are.
        columns: Of the down projection's weights: half of what gate and up projections have together.
        device: The GPU.
        dtype: Of quantised weights, as vLLM calls it (`fp8_w8a8`); empty for weights of 16 bits.
        blocks: Shape of the blocks that share a scale, as in `[128,128]`; empty without.

    Example:
        >>> from tuner.gpus import target_device
        >>> file_name(8, 14336, target_device("h100"))
        'E=8,N=14336,device_name=NVIDIA_H100_80GB_HBM3.json'
    """
    name = _device_name(device)
    # All of the family share one file.
    name = "NVIDIA_H200" if "H200" in name.split("_") else name
    dtype = f",dtype={dtype}" if dtype else ""
    blocks = f",block_shape={blocks}" if blocks else ""
    return f"E={experts},N={columns},device_name={name}{dtype}{blocks}.json"


def _device_name(device: Device) -> str:
    return re.sub(r"[\s/]+", "_", device.name)


def _text(name: str, table: Mapping[int, tuple[Winner, Config]]) -> str:
    data: dict[str, Any] = {}
    if _MOE_NAME.fullmatch(name) and (version := _one(w.evidence.environment.get("triton") for w, _ in table.values())):
        data[_VERSION] = version
    # In the order in which they were found: the first of two that are equally near is taken.
    data.update({str(tokens): dict(config) for tokens, (_, config) in table.items()})
    return json.dumps(data, indent=4) + "\n"


def _one(values: Iterable[str | None]) -> str | None:
    """Return what all values are, or None if they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else None
