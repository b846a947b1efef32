"""Settings that encoders with a model share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import ConfigError, EngineError
from recbole_dtlns.llm.chat_model import INSTALL
from recbole_dtlns.llm.engine import optional_import
from recbole_dtlns.text.contract import TextwiseEncoder


class ModelConfig(ComponentConfig):
    """Settings of an encoder with a model."""

    prefix = "text_"

    model: str | None = None
    """Folder or name of the model; openai: its name on the server."""
    revision: str | None = None
    """Which state of a named model; folders are recognised by their content. Another state makes other vectors, and
    none of the one is taken for the other's."""
    prompt: str = ""
    """What stands before every text, where the model was trained so, such as 'passage: '."""
    batch_size: int = Field(32, ge=1)
    """Texts in one forward pass, or in one request."""
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments: of transformers' from_pretrained, of vllm's LLM, of every request to a server."""


class ModelEncoder(TextwiseEncoder):
    """An encoder with a model.

    Attributes:
        name: as in `dtlns_text_encoder`.

    Raises:
        ConfigError: no model is named.
    """

    Config: ClassVar[type[ComponentConfig]] = ModelConfig
    config: ModelConfig
    name: str
    model: str

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        if self.config.model is None:
            raise ConfigError(f"dtlns_text_encoder: {self.name} needs dtlns_text_model, the name of a model")
        self.model = self.config.model

    def unprompted(self) -> Self:
        bare = copy.copy(self)
        bare.config = self.config.model_copy(update={"prompt": ""})
        return bare


def counter_of(tokenizer: Any, prompt: str, context: int | None = None) -> Callable[[Sequence[str]], int]:
    """Counts the tokens of texts with what stands before each, as far as a model's context goes."""

    def count(texts: Sequence[str]) -> int:
        if not texts:
            return 0
        encoded = tokenizer([prompt + text for text in texts], verbose=False)["input_ids"]
        return sum(len(ids) if context is None else min(len(ids), context) for ids in encoded)

    return count


def load_tokenizer(model: str, revision: str | None, encoder: str) -> Any:
    """The tokenizer of a model folder or name, for the encoder of that name.

    Raises:
        InstallationError: its library is missing.
        EngineError: there is no tokenizer under that name.
    """
    transformers = optional_import("transformers", encoder, INSTALL)
    try:
        return transformers.AutoTokenizer.from_pretrained(model, revision=revision)
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EngineError(f"cannot load the tokenizer of '{model}': {reason}") from error
