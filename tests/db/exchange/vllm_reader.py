"""Run by vLLM's own interpreter: answers from vLLM's own code what it takes from a folder of tuned files.

Standard input has the questions as JSON, standard output the answers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    asked = json.load(sys.stdin)
    from vllm.model_executor.layers.fused_moe import fused_moe
    from vllm.model_executor.layers.quantization.utils import fp8_utils

    answers: list[Any] = []
    for question in asked:
        for module in (fused_moe, fp8_utils):
            module.get_device_name_as_file_name = lambda name=question["device"]: name
        fused_moe.get_moe_configs.cache_clear()
        fp8_utils.get_w8a8_block_fp8_configs.cache_clear()
        if question["kind"] == "moe":
            blocks = question["blocks"] or [0, 0]
            configs = fused_moe.get_moe_configs(question["E"], question["N"], question["dtype"], *blocks)
            name = fused_moe.get_config_file_name(question["E"], question["N"], question["dtype"], question["blocks"])
            shapes = (question["E"], 2 * question["N"], 4096), (question["E"], 4096, question["N"])
            chosen = [
                fused_moe.try_get_optimal_moe_config(*shapes, 2, question["dtype"], tokens, question["blocks"])
                for tokens in question["tokens"]
            ]
        else:
            # It looks beside its own file only.
            fp8_utils.__file__ = str(Path(question["folder"]) / "fp8_utils.py")
            configs = fp8_utils.get_w8a8_block_fp8_configs(question["N"], question["K"], *question["blocks"])
            name, chosen = None, None
        answers.append({"configs": list((configs or {}).items()), "name": name, "chosen": chosen})
    print("\n" + json.dumps(answers))


if __name__ == "__main__":
    main()
