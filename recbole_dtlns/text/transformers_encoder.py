"""A Hugging Face model in this process as an encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.chat_model import INSTALL, local_model, model_revision
from recbole_dtlns.llm.engine import optional_import
from recbole_dtlns.text.model_config import ModelConfig, ModelEncoder, counter_of, load_tokenizer

Pooling = Literal["mean", "last", "cls"]
_NO_LIMIT = 10**9  # tokenizers without one say more
_UNUSED = "pooler"  # weights on top that some checkpoints leave out, and nothing here looks at


class TransformersEncoder(ModelEncoder):
    """Loads `AutoModel`, encoder or decoder, and pools its last hidden states; texts beyond its context are cut.

    Attributes:
        device: where the model runs: the GPU if there is one.
    """

    class Config(ModelConfig):
        """Settings of a model in this process."""

        pooling: Pooling = "mean"
        """transformers: what of the hidden states is the vector: their mean, the last token's (decoders), or the first
        one's (cls); the model's card says which."""

    config: Config
    name = "transformers"
    version = 1
    loads_model = True

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.model = local_model(self.model)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

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
        context = tokenizer.model_max_length if tokenizer.model_max_length < _NO_LIMIT else None
        return counter_of(tokenizer, self.config.prompt, context)

    @contextmanager
    def start(self) -> Iterator[_Running]:
        transformers = optional_import("transformers", self.name, INSTALL)
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.model, revision=self.config.revision)
            network, loading = transformers.AutoModel.from_pretrained(
                self.model,
                revision=self.config.revision,
                output_loading_info=True,
                **{"dtype": "auto", **self.config.engine_args},
            )
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            raise EngineError(f"cannot load the model '{self.model}' (dtlns_text_model): {error}") from error
        missing = sorted(key for key in loading["missing_keys"] if _UNUSED not in key)
        if missing:  # they would be random, and so would the vectors
            raise EngineError(
                f"'{self.model}' lacks weights of what its config.json describes: {', '.join(missing[:3])} ..."
            )
        if network.config.is_encoder_decoder:
            network = network.get_encoder()
        yield _Running(network.to(self.device).eval(), tokenizer, self.config)


class _Running:
    def __init__(self, network: Any, tokenizer: Any, config: TransformersEncoder.Config) -> None:
        self._network, self._tokenizer, self._config = network, tokenizer, config
        text = network.config.get_text_config()
        limits = (tokenizer.model_max_length, getattr(text, "max_position_embeddings", None) or _NO_LIMIT)
        self._context = min(limits) if min(limits) < _NO_LIMIT else None
        self._padding = tokenizer.pad_token_id or 0  # any id will do: padding is masked
        self.answered_by: str | None = None
        self.truncated = self.tokens = 0

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Vectors batch by batch; texts of like length share a batch, so little is padded."""
        encoded = self._ids([self._config.prompt + text for text in texts])
        order = sorted(range(len(texts)), key=lambda place: len(encoded[place]))
        for start in range(0, len(order), self._config.batch_size):
            places = order[start : start + self._config.batch_size]
            self.tokens += sum(len(encoded[place]) for place in places)
            yield np.array(places), self._vectors([encoded[place] for place in places])

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids of every text, cut to the context, with the special tokens that the model expects."""
        if not texts:
            return []
        whole = self._tokenizer(texts, add_special_tokens=True, verbose=False)["input_ids"]
        if self._context is None:
            return [list(ids) for ids in whole]
        long = [place for place, ids in enumerate(whole) if len(ids) > self._context]
        self.truncated += len(long)
        if long:  # again, so that a special token at the end is not what is cut off
            cut = self._tokenizer(
                [texts[place] for place in long], truncation=True, max_length=self._context, add_special_tokens=True
            )["input_ids"]
            for place, ids in zip(long, cut, strict=True):
                whole[place] = ids
        return [list(ids) for ids in whole]

    def _vectors(self, batch: list[list[int]]) -> np.ndarray:
        width = max(1, *map(len, batch))
        ids = torch.full((len(batch), width), self._padding, dtype=torch.long)
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
            mask[row, : len(tokens)] = 1
        device = self._network.device
        states = self._network(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state.float()
        found: np.ndarray = pooled(states, mask.to(device), self._config.pooling).cpu().numpy()
        if not np.isfinite(found).all():
            raise EngineError("the model's hidden states hold NaN or infinity: try engine_args {dtype: float32}")
        return found


def pooled(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """One vector of every text, float32 [B, d].

    Args:
        states: hidden states of its tokens, padded at the end [B, L, d].
        mask: 1 for a token, 0 for padding, [B, L].
        pooling: how.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), (mask.sum(1) - 1).clamp_min(0)]
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp_min(1)
