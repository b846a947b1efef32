"""What an engine is: it brings requests to a model and replies back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, Protocol

from recbole_dtlns.errors import InstallationError
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.language_model.requests import Request
from recbole_dtlns.llm.reply import Reply


class RunningEngine(Protocol):
    """An engine that is ready to answer.

    Attributes:
        mode: how answers are got, for shards and label cards: "log-probabilities", "constrained choice" or "text".
        truncated: how many prompts lost their oldest history items because the model's context is too short.
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


class Engine(Protocol):
    """Where a model runs.

    Attributes:
        name: as in `dtlns_judge`.
        model: path or name of the model.

    An engine for which every slice costs a start may have an attribute `least_slice`: slices are at least that large.
    """

    name: str
    model: str

    def revision(self) -> str | None:
        """Which state of the model, where that can be told."""
        ...

    def start(self, prompt: Prompt) -> AbstractContextManager[RunningEngine]:
        """Load the model, or connect to it; called only when there is something to ask."""
        ...

    def encoder(self) -> Callable[[Request], list[int]] | None:
        """A function that gives the token ids of a request's prompt; None where there is no tokenizer."""
        ...


def optional_import(module: str, engine: str, install: str) -> Any:
    """Import a library that only one engine needs.

    Raises:
        InstallationError: it is missing; the message says what to install.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InstallationError(f"the judge '{engine}' needs {module} ({error}); install it with: {install}") from error
