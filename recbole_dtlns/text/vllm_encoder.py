"""vLLM's pooling runner in this process as an encoder: many texts at once, on GPU or CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import ConfigError, EngineError
from recbole_dtlns.llm.chat_model import local_model, model_revision
from recbole_dtlns.llm.engine import optional_import
from recbole_dtlns.llm.vllm_engine import INSTALL, loaded_model
from recbole_dtlns.text.local_network import Pooling, adapter_base, cut_ids
from recbole_dtlns.text.model_config import ModelConfig, ModelEncoder, counter_of, load_tokenizer

_AT_ONCE = 1024  # texts that vLLM schedules together: what a killed run loses


class VLLMEncoder(ModelEncoder):
    """Loads `vllm.LLM` as a pooling model; texts beyond its context are cut. Its vectors are those of `transformers`.

    Raises:
        ConfigError: no model is named, or an adapter.
    """

    class Config(ModelConfig):
        """Settings of vLLM."""

        pooling: Pooling = "mean"
        """transformers, vllm: what of the hidden states is the vector: their mean, the last token's (decoders), or the
        first one's (cls); the model's card says which."""

    config: Config
    name = "vllm"
    version = 1
    loads_model = True

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.model = local_model(self.model)
        if adapter_base(self.model) is not None:
            raise ConfigError(
                f"dtlns_text_encoder: vllm takes whole models, and {self.model} is an adapter: set dtlns_text_encoder "
                "to transformers"
            )

    def inputs(self) -> dict[str, Any]:
        own = self.config
        return {
            "encoder": self.name,
            "model": self.model,
            "revision": model_revision(self.model, own.revision),
            "prompt": own.prompt,
            "pooling": own.pooling,
            "arguments": own.engine_args,
        }

    def token_counter(self) -> Callable[[Sequence[str]], int]:
        tokenizer = load_tokenizer(self.model, self.config.revision, self.name)
        return counter_of(tokenizer, self.config.prompt, self.config.engine_args.get("max_model_len"))

    @contextmanager
    def start(self) -> Iterator[_Running]:
        own, library = self.config, optional_import("vllm", self.name, INSTALL)
        tokenizer = load_tokenizer(self.model, own.revision, self.name)
        kind = optional_import("vllm.config", self.name, INSTALL).PoolerConfig
        raw = "use_activation" if "use_activation" in kind.__dataclass_fields__ else "normalize"
        pooler = kind(pooling_type=own.pooling.upper(), **{raw: False})
        told = {"runner": "pooling", "convert": "embed", "pooler_config": pooler, "disable_log_stats": True}
        example = "dtlns_text_engine_args (such as {max_model_len: 512, gpu_memory_utilization: 0.8})"
        what = f"dtlns_text_model, {example}"
        with loaded_model(library, self.model, own.revision, {**told, **own.engine_args}, what) as llm:
            yield _Running(llm, tokenizer, own.prompt)


class _Running:
    def __init__(self, llm: Any, tokenizer: Any, prompt: str) -> None:
        self._llm, self._tokenizer, self._prompt = llm, tokenizer, prompt
        self._context = llm.llm_engine.model_config.max_model_len
        self.answered_by: str | None = None
        self.truncated = self.tokens = 0

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Vectors of many texts at once, once all of them are done."""
        for start in range(0, len(texts), _AT_ONCE):
            part = texts[start : start + _AT_ONCE]
            ids, cut = cut_ids(self._tokenizer, [self._prompt + text for text in part], self._context)
            self.truncated += cut
            self.tokens += sum(map(len, ids))
            try:
                outputs = self._llm.embed([{"prompt_token_ids": one} for one in ids], use_tqdm=False)
            except ValueError as error:
                raise EngineError(f"vLLM refuses the texts {start} to {start + len(part)}: {error}") from error
            found = np.array([output.outputs.embedding for output in outputs], dtype=np.float32)
            if not np.isfinite(found).all():
                raise EngineError("the model's hidden states hold NaN or infinity: try engine_args {dtype: float32}")
            yield np.arange(start, start + len(part)), found
