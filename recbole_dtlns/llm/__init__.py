"""Asking a language model: requests go out, replies come back; what is asked, and why, is another room's matter."""

from recbole_dtlns.llm.engine import Engine, EngineConfig, RunningEngine
from recbole_dtlns.llm.reply import NoReply, Reply
from recbole_dtlns.llm.request import AsJSON, FreeText, OneOf, Request

__all__ = ["AsJSON", "Engine", "EngineConfig", "FreeText", "NoReply", "OneOf", "Reply", "Request", "RunningEngine"]
