"""Makes a small Llama with random weights and a tokenizer, offline: a model for tests and benchmarks of engines.

Run with the interpreter of an environment that has transformers, such as
`.venv-engines/bin/python tools/random_llama.py build/llama-8m --hidden 256 --layers 8`. Weights decide no speed: what a
server does for a token is the same. The tokenizer is a byte-level BPE trained on the documentation that comes with
Python, so that any token decodes to text.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from pydoc_data.topics import topics

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

__all__ = ["main"]

_END = "<|end|>"


def main() -> None:
    """Write the model's folder, unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hidden", type=int, default=256, help="width of the model, a multiple of 64")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--context", type=int, default=2048, help="longest prompt and answer together, in tokens")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder: Path = given.folder
    if (folder / "complete").exists():
        print(f"{folder} is there already")
        return
    folder.mkdir(parents=True, exist_ok=True)

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=given.vocabulary,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(topics.values(), trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=_END, eos_token=_END, pad_token=_END)
    wrapped.save_pretrained(folder)

    torch.manual_seed(given.seed)
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=given.hidden,
        # As wide as Llama's own, rounded to what vectors like.
        intermediate_size=-(-given.hidden * 8 // 3 // 64) * 64,
        num_hidden_layers=given.layers,
        num_attention_heads=given.hidden // 64,
        num_key_value_heads=max(1, given.hidden // 128),
        max_position_embeddings=given.context,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    # Saved as models are published: in bfloat16, which is what `--dtype auto` goes by.
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    count = sum(parameter.numel() for parameter in model.parameters())
    (folder / "complete").write_text(f"{count} parameters\n")
    print(f"{folder}: {count / 1e6:.1f} million parameters, {tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
