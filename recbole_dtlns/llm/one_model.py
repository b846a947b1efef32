"""Servers may answer as another model than was asked for; what is kept together must be of one."""

from __future__ import annotations

import logging
from pathlib import Path

from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.reply import NoReply, Reply

logger = logging.getLogger("recbole_dtlns")

_NAME_LENGTH = 100


class OneModel:
    """Watches that all kept replies are of the model that gave the first.

    A server may answer as a dated state of the model, or as whatever it has loaded. Its replies are kept with the name
    that it gave; those of a second model would change what the set means.

    Args:
        asked_for: the model's name.
        revision: that was asked for.
        folder: of what is kept.
        kept: what that is, for messages ("verdicts").
        key: of the revision, with `dtlns_`, for messages.
        answered_by: the name under which the earlier replies came; None where there are none, or had none.

    Attributes:
        answered_by: that name, or the one under which the server answered now.
    """

    def __init__(
        self, asked_for: str, revision: str | None, folder: Path, kept: str, key: str, answered_by: str | None
    ) -> None:
        self._asked_for, self._revision = asked_for, revision
        self._folder, self._kept, self._key = folder, kept, key
        self.answered_by = answered_by

    def checked(self, reply: Reply, first: bool) -> Reply:
        """The reply, where the model that gave the others gave it too; else the reason why it is not kept.

        Args:
            reply: of the engine.
            first: whether it is the first of this round.

        Raises:
            EngineError: the first reply of this round is of another model than what is kept.
        """
        if reply.model is None or not reply.lasting:
            return reply
        name = reply.model[:_NAME_LENGTH]
        if name == (self.answered_by or name):
            self.answered_by = name
            if first and name not in (self._asked_for, self._revision):
                logger.warning(
                    "'%s' was asked for, and the server answers as '%s': the %s are kept with that name. If this is "
                    "the state of the model that you want, say so with %s",
                    self._asked_for,
                    name,
                    self._kept,
                    self._key,
                )
            return reply
        problem = f"the server answered as '{name}', and as '{self.answered_by}' before"
        if first:
            raise EngineError(
                f"{problem}, so {self._folder} would hold {self._kept} of two models: ask for the earlier one, or set "
                f"{self._key} to the new name, which keeps them apart"
            )
        return Reply(reason=NoReply.FAILED, detail=problem, tokens=reply.tokens, lasting=False)
