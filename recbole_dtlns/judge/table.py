"""The judges that a configuration can name."""

from functools import partial

from recbole_dtlns.judge.calibrated import CalibratedJudge
from recbole_dtlns.judge.contract import Judge
from recbole_dtlns.judge.controls import ConstantJudge, RandomJudge, RankJudge, ShuffledJudge
from recbole_dtlns.judge.structural import StructuralJudge
from recbole_dtlns.llm.judge import LLMJudge
from recbole_dtlns.llm.openai_engine import OpenAIEngine
from recbole_dtlns.llm.transformers_engine import TransformersEngine
from recbole_dtlns.registry import Registry

JUDGES: Registry[Judge] = Registry(
    "judge",
    "recbole_dtlns.judges",
    {
        "structural": StructuralJudge.from_settings,
        "calibrated": CalibratedJudge.from_settings,
        "transformers": partial(LLMJudge.from_settings, TransformersEngine.from_settings),
        "openai": partial(LLMJudge.from_settings, OpenAIEngine.from_settings),
        "always": ConstantJudge.always,
        "never": ConstantJudge.never,
        "random": RandomJudge.from_settings,
        "rank": RankJudge.from_settings,
        "shuffled": ShuffledJudge.from_settings,
    },
)
