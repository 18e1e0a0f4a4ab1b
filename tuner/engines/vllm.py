"""vLLM as a tunable: `engine:vllm`. What it can be set to follows the installed version's own parser."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs
import yaml

from tuner.engines.base import EngineParameter, Route
from tuner.engines.client import Prompts
from tuner.engines.installed import InstalledVllm, find_interpreter, installed_vllm, known_options
from tuner.engines.option import Option, ServerOptions, command_line
from tuner.engines.process import PORT, ServerCommand
from tuner.engines.served import served_workload
from tuner.engines.server import Launch, ServerTunable
from tuner.engines.source import file_digest, source_version
from tuner.errors import WorkloadError
from tuner.search_spaces import Constraint, Parameter
from tuner.types import Config, Device, Scalar, Workload

__all__ = ["VLLM", "Vllm"]

_LOGGER = logging.getLogger(__name__)

# The workload's own fields. `model` is a folder or a name on the Hugging Face hub; `context_tokens`, the longest prompt
# and answer together, 0 for the model's own; `kv_cache_gib`, the KV cache of the default on a CPU; `parameters`, names
# of those to tune, separated by commas, all where it is empty.
_FIELDS: Mapping[str, Scalar] = {
    "model": "",
    "model_digest": "",
    "draft_model": "",
    "context_tokens": 0,
    "kv_cache_gib": 1,
    "parameters": "",
}
_MODEL_NAME = "model"
# What a server's three processes take beside weights and cache, measured as proportional set size.
_PROCESS_BYTES = 2 << 30
_GIB = 1 << 30
_DEADLINE_SECONDS = 300.0
_MOE_FIELDS = ("num_experts", "num_local_experts", "n_routed_experts")
_CACHE = "kv_cache_gib"
_OWN = 0
"""The value of a number for which vLLM decides by itself."""


class Vllm(ServerTunable):
    """vLLM's server, for one model and its traffic.

    Example:
        >>> VLLM.workload({"model": "Qwen/Qwen3-0.6B", "concurrency": 16})["concurrency"]
        16
    """

    name = "vllm"

    @property
    def version(self) -> str:
        """Hash of our modules that start servers and measure them."""
        return source_version("client", "option", "process", "sample", "server", "traffic", "vllm")

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the checked workload: `model`, fields of traffic or the name of its file, and others with defaults."""
        given = dict(fields)
        model = given.get("model")
        if not isinstance(model, str) or not model:
            raise WorkloadError("engine:vllm needs a model: -w model=FOLDER, or a name on the Hugging Face hub")
        if (folder := Path(model).resolve()).is_dir():
            given["model"] = str(folder)
            # The weights' values decide no speed; their shapes do.
            given["model_digest"] = file_digest(folder / "config.json")
        for name in _NUMBERS:
            number = given.get(name, 0)
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise WorkloadError(f"{name}={number!r} is not a whole number of at least 0")
        return served_workload(given, _FIELDS, "engine:vllm")

    def environment(self) -> Mapping[str, str]:
        """Return the versions of vLLM and its torch."""
        versions = self._installed().versions
        return {"vllm": versions["vllm"], "vllm_torch": versions["torch"]}

    def parameters(self, workload: Workload, device: Device) -> Sequence[EngineParameter]:
        """Return the options that the installed version takes; what it does not take is logged."""
        return self.options(workload, device).kept

    def left_out(self, workload: Workload, device: Device) -> Sequence[str]:
        """Return the options that the installed version does not take, and why."""
        return self.options(workload, device).dropped

    def options(self, workload: Workload, device: Device) -> ServerOptions:
        """Return the options for a kind of device, with what was dropped, and why."""
        options = known_options(_options(workload, device, self._installed()), self._installed())
        for line in options.dropped:
            _LOGGER.info("dropped %s", line)
        names = _names(workload)
        known = {option.name for option in options.kept}
        if unknown := [name for name in names if name not in known]:
            raise WorkloadError(f"engine:vllm has no parameter {unknown[0]!r} here; it has: {', '.join(sorted(known))}")
        if not names or device.kind != "cpu":
            return options.only(names)
        # Always said on a CPU: vLLM's own choice is nearly all memory, and two servers are up at once.
        fixed = [
            one.with_values([one.parameter.default]) if one.name == _CACHE and _CACHE not in names else one
            for one in options.kept
        ]
        return ServerOptions(tuple(fixed), options.dropped).only([*names, _CACHE])

    def constraints(self, workload: Workload, device: Device) -> Iterable[Constraint]:
        """Return what vLLM would refuse at its start, some of it only after a minute."""
        names = {option.name for option in self.options(workload, device).kept}
        context = _context_tokens(workload)
        return [one for one in _constraints(device, context) if set(one.parameters) <= names]

    def launch(self, config: Config, workload: Workload) -> Launch:
        """Return what is started for `config`."""
        python = self._installed().python
        options = _every_option(workload, self._installed())
        model = workload.text("model")
        words = [str(python), "-P", "-m", "vllm.entrypoints.cli.main", "serve", model]
        words += ["--host", "127.0.0.1", "--port", PORT, "--served-model-name", _MODEL_NAME]
        words += [*_fixed_words(config, workload), *options.words(config)]
        environment = {**_environment(workload), **options.environment(config)}
        devices = self.devices(config, workload)
        is_cpu = _CACHE in config
        return Launch(
            ServerCommand(tuple(words), environment),
            _MODEL_NAME,
            Prompts(_model_config(workload).get("vocab_size", 0)),
            # Answers have the length that the traffic says.
            {"ignore_eos": True},
            _DEADLINE_SECONDS,
            _memory_bytes(config, workload) if is_cpu else 0,
            0 if is_cpu else devices,
        )

    def devices(self, config: Config, workload: Workload) -> int:
        """Return how many devices a server shards itself over, or is copied to."""
        return math.prod(int(config.get(name, 1)) for name in _PARALLEL)

    def memory_bytes(self, config: Config, workload: Workload) -> int:
        """Return what it needs of a CPU's memory; on a GPU it takes the share that it is told, which always fits."""
        return _memory_bytes(config, workload) if _CACHE in config else 0

    def serve_command(self, config: Config, workload: Workload) -> str:
        """Return the command line that serves with `config`: variables, `vllm serve`, options."""
        options = _every_option(workload, self._installed())
        words = ["vllm", "serve", workload.text("model"), *_fixed_words(config, workload), *options.words(config)]
        return command_line(words, options.environment(config))

    def serve_yaml(self, config: Config, workload: Workload) -> str:
        """Return the same as a file for `vllm serve --config FILE`; variables, which it cannot hold, are comments."""
        options = _every_option(workload, self._installed())
        content: dict[str, Any] = {"model": workload.text("model")}
        words = [*_fixed_words(config, workload), *options.words(config)]
        for index, word in enumerate(words):
            if not word.startswith("--"):
                continue
            following = words[index + 1] if index + 1 < len(words) else "--"
            if not following.startswith("--"):
                # JSON stays text: vLLM reads it itself.
                content[word[2:]] = following if following.startswith("{") else yaml.safe_load(following)
            elif word.startswith("--no-"):
                content[word[5:]] = False
            else:
                content[word[2:]] = True
        comments = [f"# {name}={value}" for name, value in options.environment(config).items()]
        return "\n".join([*comments, yaml.safe_dump(content, sort_keys=False)])

    def _installed(self) -> InstalledVllm:
        return installed_vllm(find_interpreter())


VLLM = Vllm()
"""The tunable of `engine:vllm`."""

_NUMBERS = ("context_tokens", _CACHE)
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def _names(workload: Workload) -> list[str]:
    return [name.strip() for name in str(workload.get("parameters", "")).split(",") if name.strip()]


def _model_config(workload: Workload) -> dict[str, Any]:
    """Return the model's own description; nothing where it is not in a folder."""
    try:
        config: dict[str, Any] = json.loads((Path(workload.text("model")) / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return {**config, **config.get("text_config", {})}


def _context_tokens(workload: Workload) -> int:
    """Return the longest prompt and answer together; 0 where it is not known."""
    given = workload.get("context_tokens") or _model_config(workload).get("max_position_embeddings", 0)
    return int(given)


def _fixed_words(config: Config, workload: Workload) -> list[str]:
    """Return what every config's command says."""
    words: list[str] = []
    if context := workload.get("context_tokens"):
        words += ["--max-model-len", str(context)]
    return words


def _environment(workload: Workload) -> dict[str, str]:
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        # What one server has compiled, the next need not: their temporary folders end with them.
        "TORCHINDUCTOR_CACHE_DIR": str(Path(platformdirs.user_cache_dir("tuner")) / "engines" / "torchinductor"),
    }
    if Path(workload.text("model")).is_dir():
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return environment


def _memory_bytes(config: Config, workload: Workload) -> int:
    """Return what a server on a CPU needs of the machine's memory, roughly."""
    folder = Path(workload.text("model"))
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder.is_dir() else 0
    if config.get("dtype") == "float32" and _model_config(workload).get("dtype") != "float32":
        weights *= 2
    replicas = int(config.get("data_parallel_size", 1))
    cache = int(config.get(_CACHE, 1)) * _GIB
    return replicas * (weights + cache + _PROCESS_BYTES)


def _every_option(workload: Workload, installed: InstalledVllm) -> ServerOptions:
    """Return the options of all kinds of devices: what turns a config into words does not ask where it runs."""
    names: dict[str, Option] = {}
    for option in (*_common_options(workload), *_gpu_options(workload), *_cpu_options(workload, None, installed)):
        names.setdefault(option.name, option)
    return ServerOptions(tuple(names.values()))


def _options(workload: Workload, device: Device, installed: InstalledVllm) -> list[Option]:
    """Return what could be tuned on a kind of device, if the installed version takes it."""
    common = [_for_device(option, device) for option in _common_options(workload)]
    own = _cpu_options(workload, device, installed) if device.kind == "cpu" else _gpu_options(workload)
    return [option for option in (*common, *own) if len(option.parameter.values) > 1 or option.name == _CACHE]


def _for_device(option: Option, device: Device) -> Option:
    """Return the option with the values that make sense on `device`."""
    values = option.parameter.values
    if option.name in _PARALLEL:
        return option.with_values([value for value in values if int(value) <= device.count])
    if option.name == "block_size" and device.kind == "cpu":
        # Its kernels for CPUs want multiples of 32.
        return option.with_values([value for value in values if int(value) % 32 == 0])
    if option.name == "dtype" and device.kind != "cpu":
        return option.with_values(["auto", "float16"])
    if option.name == "kv_cache_dtype" and device.kind == "cpu":
        return option.with_values(["auto"])
    return option


def _common_options(workload: Workload) -> list[Option]:
    auto = ("auto",)
    stored = str(_model_config(workload).get("dtype", "bfloat16"))
    dtypes = ["auto", *(name for name in ("bfloat16", "float16", "float32") if name != stored)]
    speculations = ["none", "ngram:2", "ngram:4"]
    if workload.get("draft_model"):
        speculations += ["draft:2", "draft:4"]
    draft = str(workload.get("draft_model", ""))
    return [
        # What a CPU is served best in is seldom what the model was stored in.
        Option(Parameter.categorical("dtype", dtypes), Route.FLAG, "--dtype", silent=auto, first=("float32",)),
        # Fewer requests at once are each served faster, which limits on latency ask for.
        _number("max_num_seqs", (8, 16, 24, 32, 48, 64, 128), first=(32, 16)),
        # Smaller steps keep prompts from delaying what others wait for.
        _number("max_num_batched_tokens", (128, 256, 512, 1024, 2048, 4096, 8192), first=(512,)),
        _switch("enable_chunked_prefill"),
        _switch("enable_prefix_caching"),
        _number("block_size", (16, 32, 64, 128)),
        Option(Parameter.categorical("kv_cache_dtype", ("auto", "fp8")), Route.FLAG, "--kv-cache-dtype", silent=auto),
        *(
            Option(Parameter(name, (1, 2, 4, 8)), Route.FLAG, f"--{name.replace('_', '-')}", silent=(1,))
            for name in _PARALLEL
        ),
        Option(
            Parameter.categorical("speculation", speculations),
            Route.FLAG,
            "--speculative-config",
            silent=("none",),
            render=lambda value: _speculation(str(value), draft),
        ),
        Option(Parameter.boolean("enforce_eager"), Route.FLAG, "--enforce-eager", silent=(False,), is_switch=True),
        Option(
            Parameter.categorical("scheduling_policy", ("fcfs", "priority")),
            Route.FLAG,
            "--scheduling-policy",
            silent=("fcfs",),
        ),
    ]


def _cpu_options(workload: Workload, device: Device | None, installed: InstalledVllm) -> list[Option]:
    default = int(workload.get(_CACHE, 1))
    most = device.memory_bytes // 4 // _GIB if device is not None else default
    sizes = sorted({default, *(size for size in (1, 2, 4, 8, 16) if default < size <= most)})
    cores = device.count if device is not None else 1
    options = [
        Option(
            Parameter(_CACHE, sizes, default),
            Route.FLAG,
            "--kv-cache-memory-bytes",
            silent=(_OWN,),
            render=lambda value: str(int(value) * _GIB),
        ),
        Option(
            Parameter.categorical("thread_binding", ("auto", "nobind")),
            Route.VARIABLE,
            "VLLM_CPU_OMP_THREADS_BIND",
            silent=("auto",),
        ),
        Option(
            Parameter("reserved_cores", (-1, *range(min(cores, 3)))),
            Route.VARIABLE,
            "VLLM_CPU_NUM_OF_RESERVED_CPU",
            silent=(-1,),
        ),
    ]
    if (library := installed.python.parent.parent / "lib" / "libiomp5.so").exists():
        options.append(
            Option(
                Parameter.categorical("openmp", ("system", "intel")),
                Route.VARIABLE,
                "LD_PRELOAD",
                silent=("system",),
                render=lambda _: str(library),
            )
        )
    return options


def _gpu_options(workload: Workload) -> list[Option]:
    options = [
        Option(
            Parameter("gpu_memory_utilization", (0.8, 0.85, 0.9, 0.92, 0.95), 0.92),
            Route.FLAG,
            "--gpu-memory-utilization",
            silent=(0.92,),
        ),
        Option(
            Parameter.categorical("quantization", ("none", "fp8")),
            Route.FLAG,
            "--quantization",
            silent=("none",),
            first=("fp8",),
        ),
        _number("max_cudagraph_capture_size", (8, 32, 128, 512)),
        _switch("async_scheduling"),
    ]
    if any(name in _model_config(workload) for name in _MOE_FIELDS):
        expert = Parameter.boolean("enable_expert_parallel")
        options.append(Option(expert, Route.FLAG, "--enable-expert-parallel", silent=(False,), is_switch=True))
    return options


def _number(name: str, values: Sequence[int], first: tuple[int, ...] = ()) -> Option:
    """Return an option of numbers, of which 0 stands for vLLM's own choice."""
    parameter = Parameter(name, (_OWN, *values))
    return Option(parameter, Route.FLAG, f"--{name.replace('_', '-')}", silent=(_OWN,), first=first)


def _switch(name: str) -> Option:
    """Return an option that is on, off, or vLLM's own choice."""
    parameter = Parameter.categorical(name, ("auto", "on", "off"))
    return Option(parameter, Route.FLAG, f"--{name.replace('_', '-')}", silent=("auto",), is_switch=True)


def _speculation(value: str, draft: str) -> str:
    method, _, count = value.partition(":")
    settings: dict[str, Any] = {"num_speculative_tokens": int(count)}
    settings |= {"model": draft} if method == "draft" else {"method": "ngram", "prompt_lookup_max": int(count)}
    return json.dumps(settings)


def _constraints(device: Device, context: int) -> list[Constraint]:
    unit = "cores" if device.kind == "cpu" else "GPUs"
    count = device.count
    return [
        Constraint(
            lambda tensor_parallel_size, pipeline_parallel_size, data_parallel_size, count=count: (
                tensor_parallel_size * pipeline_parallel_size * data_parallel_size <= count
            ),
            f"tensor, pipeline and data parallel sizes together need more than {count} {unit}",
        ),
        Constraint(
            lambda max_num_seqs, max_num_batched_tokens: not (0 < max_num_batched_tokens < max_num_seqs),
            "every sequence of a step needs a token of it",
        ),
        Constraint(
            lambda enable_chunked_prefill, max_num_batched_tokens, context=context: (
                enable_chunked_prefill != "off" or not 0 < max_num_batched_tokens < context
            ),
            f"a step has to take the longest prompt, {context} tokens, where prompts are not cut into chunks",
        ),
        Constraint(
            lambda speculation, pipeline_parallel_size: speculation == "none" or pipeline_parallel_size == 1,
            "vLLM does not speculate across pipeline stages",
        ),
        Constraint(
            lambda thread_binding, reserved_cores: thread_binding == "auto" or reserved_cores == -1,
            "cores are reserved by automatic binding only",
        ),
        Constraint(
            lambda max_cudagraph_capture_size, enforce_eager: not (enforce_eager and max_cudagraph_capture_size),
            "no CUDA graphs are captured without compilation",
        ),
        Constraint(
            lambda enable_expert_parallel, tensor_parallel_size, data_parallel_size: (
                not enable_expert_parallel or tensor_parallel_size * data_parallel_size > 1
            ),
            "experts are spread over more than one GPU",
        ),
    ]
