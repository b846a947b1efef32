"""The judges that a configuration can name."""

from functools import partial
from typing import Any

from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.contract import Judge
from recbole_dtlns.judges.controls import ConstantJudge, RandomJudge, RankJudge, ShuffledJudge
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
    return DistilledJudge.from_settings(JUDGES.get(settings.judge_llm)(settings), settings)


JUDGES: Registry[Judge] = Registry(
    "judge",
    "recbole_dtlns.judges",
    {
        "structural": StructuralJudge.from_settings,
        "calibrated": CalibratedJudge.from_settings,
        "recorded": RecordedJudge.from_settings,
        "distilled": _distilled,
        "vllm": partial(LLMJudge.from_settings, VLLMEngine.from_settings),
        "transformers": partial(LLMJudge.from_settings, TransformersEngine.from_settings),
        "openai": partial(LLMJudge.from_settings, OpenAIEngine.from_settings),
        "ray": partial(LLMJudge.from_settings, RayEngine.from_settings),
        "always": ConstantJudge.always,
        "never": ConstantJudge.never,
        "random": RandomJudge.from_settings,
        "rank": RankJudge.from_settings,
        "shuffled": ShuffledJudge.from_settings,
    },
)
