"""Judges that ask language models, made of an engine and a prompt."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recbole_dtlns.judges.distilled import DistilledJudge
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.language_model.prompt import Prompt


def prompt_file(prompt: Prompt) -> str:
    """A file that holds the prompt."""
    file = Path(f"{prompt.digest}.prompt")
    file.write_text(json.dumps(asdict(prompt)))
    return str(file)


def llm_judge(engine: Any, prompt: str | Prompt = "pair", folder: str = "store", **settings: Any) -> LLMJudge:
    """The judge; its verdicts lie in a folder of `folder`."""
    name = prompt if isinstance(prompt, str) else prompt_file(prompt)
    return LLMJudge(engine=engine, prompt=name, cache_dir=folder, **settings)


def distilled_judge(engine: Any, folder: str = "verdicts", **settings: Any) -> DistilledJudge:
    """The judge that learns from what the engine's model says of the built-in prompt."""
    return DistilledJudge(engine=engine, cache_dir=folder, **settings)
