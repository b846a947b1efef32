"""A Hugging Face model in this process as an encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import ConfigError, EngineError
from recbole_dtlns.llm.chat_model import local_model
from recbole_dtlns.text.adapter_record import AdapterRecord
from recbole_dtlns.text.local_network import LocalNetwork, Pooling, network_revision
from recbole_dtlns.text.model_config import ModelConfig, ModelEncoder, counter_of, load_tokenizer

_NO_LIMIT = 10**9  # tokenizers without one say more


class TransformersEncoder(ModelEncoder):
    """Loads `AutoModel`, encoder or decoder, and pools its last hidden states; texts beyond its context are cut.

    The folder of an adapter (LoRA), such as `recbole-dtlns finetune` makes, is a model too: its base is loaded with it.

    Attributes:
        device: where the model runs: the GPU if there is one.

    Raises:
        ConfigError: no model is named, or an adapter that was trained otherwise than it would be used.
    """

    class Config(ModelConfig):
        """Settings of a model in this process."""

        pooling: Pooling = "mean"
        """transformers, vllm: what of the hidden states is the vector: their mean, the last token's (decoders), or the
        first one's (cls); the model's card says which."""

    config: Config
    name = "transformers"
    version = 1
    loads_model = True

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.model = local_model(self.model)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        record, own = AdapterRecord.of(self.model), self.config
        if record is not None and (record.pooling, record.item_prompt) != (own.pooling, own.prompt):
            raise ConfigError(
                f"the adapter {self.model} was trained with dtlns_text_pooling: {record.pooling} and "
                f"dtlns_text_prompt: '{record.item_prompt}': set both so, not to {own.pooling} and '{own.prompt}'"
            )

    def inputs(self) -> dict[str, Any]:
        own = self.config
        return {
            "encoder": self.name,
            "model": self.model,
            "revision": network_revision(self.model, own.revision),
            "prompt": own.prompt,
            "pooling": own.pooling,
            "arguments": own.engine_args,
        }

    def token_counter(self) -> Callable[[Sequence[str]], int]:
        tokenizer = load_tokenizer(self.model, self.config.revision, self.name)
        context = tokenizer.model_max_length if tokenizer.model_max_length < _NO_LIMIT else None
        return counter_of(tokenizer, self.config.prompt, context)

    @contextmanager
    def start(self) -> Iterator[_Running]:
        own = self.config
        loaded = LocalNetwork.load(self.model, own.revision, own.engine_args, "dtlns_text_model")
        loaded.network.to(self.device).eval()
        yield _Running(loaded, own)


class _Running:
    def __init__(self, loaded: LocalNetwork, config: TransformersEncoder.Config) -> None:
        self._loaded, self._config = loaded, config
        self.answered_by: str | None = None
        self.truncated = self.tokens = 0

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Vectors batch by batch; texts of like length share a batch, so little is padded."""
        encoded, cut = self._loaded.ids([self._config.prompt + text for text in texts])
        self.truncated += cut
        order = sorted(range(len(texts)), key=lambda place: len(encoded[place]))
        for start in range(0, len(order), self._config.batch_size):
            places = order[start : start + self._config.batch_size]
            self.tokens += sum(len(encoded[place]) for place in places)
            yield np.array(places), self._vectors([encoded[place] for place in places])

    def _vectors(self, batch: list[list[int]]) -> np.ndarray:
        vectors = self._loaded.vectors(batch, self._config.pooling, self._loaded.network.device)
        found: np.ndarray = vectors.cpu().numpy()
        if not np.isfinite(found).all():
            raise EngineError("the model's hidden states hold NaN or infinity: try engine_args {dtype: float32}")
        return found
