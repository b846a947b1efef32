"""The judges that a configuration can name."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from recbole_dtlns.components import Component
from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.contract import Judge
from recbole_dtlns.judges.controls import AlwaysJudge, NeverJudge, RandomJudge, RankJudge, ShuffledJudge
from recbole_dtlns.judges.distilled import DistilledJudge
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.recorded import RecordedJudge
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.llm.openai_engine import OpenAIEngine
from recbole_dtlns.llm.ray_engine import RayEngine
from recbole_dtlns.llm.transformers_engine import TransformersEngine
from recbole_dtlns.llm.vllm_engine import VLLMEngine
from recbole_dtlns.registry import Registry


def _distilled(settings: Any) -> Judge:
    found: Any = JUDGES.get(settings.judge_llm)
    # None of those that are made of a Config is an LLM, so what it would be told does not matter.
    return DistilledJudge.from_settings(found() if _is_component(found) else found(settings), settings)


def _is_component(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Component)


class _Attributes:
    """Flat keys as attributes."""

    def __init__(self, flat: Mapping[str, Any]) -> None:
        self._flat = flat

    def __getattr__(self, key: str) -> Any:
        try:
            return self._flat[key]
        except KeyError:
            raise AttributeError(key) from None


def make_judge(name: str, flat: Mapping[str, Any]) -> Judge:
    """The judge registered as `name`, made from the flat keys that it reads.

    Raises:
        UnknownNameError: nothing is registered under that name.
        ConfigError: a value is wrong.
    """
    found: Any = JUDGES.get(name)
    if _is_component(found):
        return JUDGES.make(name, flat)
    return found(_Attributes(flat))


JUDGES: Registry[Judge] = Registry(
    "judge",
    "recbole_dtlns.judges",
    {
        "structural": StructuralJudge,
        "calibrated": CalibratedJudge,
        "recorded": RecordedJudge.from_settings,
        "distilled": _distilled,
        "vllm": partial(LLMJudge.from_settings, VLLMEngine.from_settings),
        "transformers": partial(LLMJudge.from_settings, TransformersEngine.from_settings),
        "openai": partial(LLMJudge.from_settings, OpenAIEngine.from_settings),
        "ray": partial(LLMJudge.from_settings, RayEngine.from_settings),
        "always": AlwaysJudge,
        "never": NeverJudge,
        "random": RandomJudge,
        "rank": RankJudge,
        "shuffled": ShuffledJudge,
    },
)
