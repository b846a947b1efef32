"""Small language models that the tests make themselves: a real Llama, with its own tokenizer and chat template."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from recbole_dtlns.judges.language_model.prompt import Prompt

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<unk>", "<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def save_tokenizer(folder: str | Path) -> PreTrainedTokenizerFast:
    """One token per word, digit, blank or sign of the built-in prompts."""
    import re

    pattern = r"[A-Za-z]+|\d|\s|[^\sA-Za-z\d]"
    text = " ".join(
        "\n".join((prompt.system, prompt.user, prompt.candidate)) for prompt in map(Prompt.load, ("pair", "user"))
    )
    words = dict.fromkeys(
        [*SPECIAL, *"0123456789", " ", "\n", *"[],.:", "yes", "no", "none", *re.findall(pattern, text)]
    )
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="<|end|>",
        additional_special_tokens=SPECIAL[3:],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return fast


def save_random_llama(folder: str | Path, context: int = 2048, layers: int = 2, seed: int = 0) -> Path:
    """A Llama with random weights: its answers mean nothing, but are the same on every engine."""
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return Path(folder)
