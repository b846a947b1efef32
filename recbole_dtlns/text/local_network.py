"""A Hugging Face model in this process whose hidden states are vectors: loading, token ids, batches, pooling."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.chat_model import INSTALL, model_revision
from recbole_dtlns.llm.engine import optional_import

Pooling = Literal["mean", "last", "cls"]
FINETUNE_INSTALL = "pip install 'recbole_dtlns[finetune]'"
_ADAPTER = "adapter_config.json"
_NO_LIMIT = 10**9  # tokenizers without one say more
_UNUSED = "pooler"  # weights on top that some checkpoints leave out, and nothing here looks at


@dataclass(frozen=True, eq=False)
class LocalNetwork:
    """A model and its tokenizer.

    Attributes:
        network: gives `last_hidden_state` of token ids.
        tokenizer: its own.
        context: tokens that a text may have; None for no limit.
    """

    network: Any
    tokenizer: Any
    context: int | None

    @classmethod
    def load(cls, model: str, revision: str | None, arguments: dict[str, Any], key: str) -> LocalNetwork:
        """Load a model folder or name, or a folder with a LoRA adapter, whose base is loaded and changed by it.

        Args:
            model: folder or name.
            revision: which state of a named model.
            arguments: further ones of `from_pretrained`.
            key: that names the model, for messages.

        Raises:
            InstallationError: a library is missing.
            EngineError: there is no such model, or a part of it is missing.
        """
        base = adapter_base(model)
        transformers = optional_import("transformers", "transformers", INSTALL)
        if base is not None:
            peft = optional_import("peft", "transformers", FINETUNE_INSTALL)
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(model, revision=revision)
            network, loading = transformers.AutoModel.from_pretrained(
                base or model,
                revision=None if base else revision,
                output_loading_info=True,
                **{"dtype": "auto", **arguments},
            )
            if base is not None:
                with under_old_names():
                    network = peft.PeftModel.from_pretrained(network, model).merge_and_unload()
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            named = f"'{model}'" if base is None else f"'{model}', an adapter of '{base}',"
            raise EngineError(f"cannot load the model {named} ({key}): {error}") from error
        missing = sorted(name for name in loading["missing_keys"] if _UNUSED not in name)
        if missing:  # they would be random, and so would the vectors
            raise EngineError(
                f"'{base or model}' lacks weights of what its config.json describes: {', '.join(missing[:3])} ..."
            )
        if network.config.is_encoder_decoder:
            network = network.get_encoder()
        text = network.config.get_text_config()
        limit = min(tokenizer.model_max_length, getattr(text, "max_position_embeddings", None) or _NO_LIMIT)
        return cls(network, tokenizer, limit if limit < _NO_LIMIT else None)

    def ids(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        """Token ids of every text, cut to the context, with the special tokens that the model expects.

        Returns:
            the ids, and how many texts were cut.
        """
        return cut_ids(self.tokenizer, texts, self.context)

    def vectors(self, batch: Sequence[Sequence[int]], pooling: Pooling, device: torch.device) -> torch.Tensor:
        """One vector of each of some token ids, padded to one length, float32 [B, d]."""
        width = max(1, *map(len, batch))
        padding = self.tokenizer.pad_token_id or 0  # any id will do: padding is masked
        ids = torch.full((len(batch), width), padding, dtype=torch.long)
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
            mask[row, : len(tokens)] = 1
        mask = mask.to(device)
        states = self.network(input_ids=ids.to(device), attention_mask=mask).last_hidden_state.float()
        return pooled(states, mask, pooling)


def cut_ids(tokenizer: Any, texts: Sequence[str], context: int | None) -> tuple[list[list[int]], int]:
    """Token ids of texts, as `LocalNetwork.ids`."""
    if not texts:
        return [], 0
    whole = tokenizer(list(texts), add_special_tokens=True, verbose=False)["input_ids"]
    long = [] if context is None else [place for place, ids in enumerate(whole) if len(ids) > context]
    if long:  # again, so that a special token at the end is not what is cut off
        cut = tokenizer([texts[place] for place in long], truncation=True, max_length=context, add_special_tokens=True)[
            "input_ids"
        ]
        for place, ids in zip(long, cut, strict=True):
            whole[place] = ids
    return [list(ids) for ids in whole], len(long)


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


@contextmanager
def under_old_names() -> Iterator[None]:
    """Old transformers know only the names that new ones warn of, and peft asks by those."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def adapter_base(model: str) -> str | None:
    """The model that a folder is an adapter of; None where it is none.

    Raises:
        EngineError: the folder does not say.
    """
    path = Path(model) / _ADAPTER
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{path} does not say which model it is an adapter of ({error})") from error


def network_revision(model: str, revision: str | None) -> str | None:
    """As `model_revision`; of an adapter, its own and its base's."""
    base = adapter_base(model)
    own = model_revision(model, revision)
    return own if base is None else f"{own}+{model_revision(base, None)}"
