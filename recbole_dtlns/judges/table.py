"""The judges that a configuration can name."""

from recbole_dtlns.judges.calibrated import CalibratedJudge
from recbole_dtlns.judges.contract import Judge
from recbole_dtlns.judges.controls import AlwaysJudge, NeverJudge, RandomJudge, RankJudge, ShuffledJudge
from recbole_dtlns.judges.distilled import DistilledJudge
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.recorded import RecordedJudge
from recbole_dtlns.judges.structural import StructuralJudge
from recbole_dtlns.registry import Registry

JUDGES: Registry[Judge] = Registry(
    "judge",
    "recbole_dtlns.judges",
    {
        "structural": StructuralJudge,
        "calibrated": CalibratedJudge,
        "recorded": RecordedJudge,
        "llm": LLMJudge,
        "distilled": DistilledJudge,
        "always": AlwaysJudge,
        "never": NeverJudge,
        "random": RandomJudge,
        "rank": RankJudge,
        "shuffled": ShuffledJudge,
    },
)
