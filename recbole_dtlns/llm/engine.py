"""What an engine is: it brings requests to a model and replies back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, ClassVar, Protocol

from pydantic import Field

from recbole_dtlns.components import Component, ComponentConfig
from recbole_dtlns.errors import ConfigError, InstallationError
from recbole_dtlns.llm.reply import Reply
from recbole_dtlns.llm.request import Request

# How answers are got, the best way first.
LOG_PROBABILITIES = "log-probabilities"
CONSTRAINED = "constrained choice"
TEXT = "text"


class RunningEngine(Protocol):
    """An engine that is ready to answer.

    Attributes:
        mode: how the latest replies were got: "log-probabilities" of the wanted answers, "constrained choice" (nothing
            but what is wanted can be written) or "text"; empty before the first.
        truncated: how many prompts were shortened because the model's context is too short.
    """

    mode: str
    truncated: int

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        """The replies as they come, each with the position of its request; exactly one per request.

        A request that cannot be answered is a reply with a reason.

        Raises:
            EngineError: no request can be answered (a wrong key, model or address).
        """
        ...


class EngineConfig(ComponentConfig):
    """Settings that every engine has."""

    prefix = "judge_"

    model: str | None = None
    """Folder or name of the model; openai: its name on the server."""
    revision: str | None = None
    """Which state of a named model; folders are recognised by their content. openai: also the name under which the
    server may answer."""
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments: of vllm's LLM, of transformers' from_pretrained (chat_template_kwargs among them goes to the
    chat template), of every request to a server."""


class Engine(Component):
    """Where a model runs.

    Attributes:
        name: as in `dtlns_engine`.
        model: path or name of the model.
        least_slice: requests that are worth a call of `answer`, where every call costs a start; else 1.
        local: whether the model runs on this machine, so that asking sends nothing anywhere.
        loads_model: whether it loads `model` from a folder or by a public name; servers have names of their own.
        what_model: what `dtlns_judge_model` names, for messages.

    Raises:
        ConfigError: no model is named.
    """

    Config: ClassVar[type[ComponentConfig]] = EngineConfig
    config: EngineConfig
    name: str
    model: str
    least_slice: int = 1
    local: bool = False
    loads_model: bool = False
    what_model: str = "the name of a model"

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        if self.config.model is None:
            raise ConfigError(f"dtlns_engine: {self.name} needs dtlns_judge_model, {self.what_model}")
        self.model = self.config.model

    def revision(self) -> str | None:
        """Which state of the model, where that can be told."""
        return self.config.revision

    def start(self) -> AbstractContextManager[RunningEngine]:
        """Load the model, or connect to it; called only when there is something to ask."""
        raise NotImplementedError

    def encoder(self) -> Callable[[Request], list[int]] | None:
        """A function that gives the token ids of a request's prompt; None where there is no tokenizer."""
        return None


def optional_import(module: str, engine: str, install: str) -> Any:
    """Import a library that only one engine needs.

    Raises:
        InstallationError: it is missing; the message says what to install.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InstallationError(
            f"the engine '{engine}' needs {module} ({error}); install it with: {install}"
        ) from error
