"""Judging without training: verdicts to files, requests for others to answer, costs in advance, audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.runner import train_split
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.judges.audit import Audit, audit
from recbole_dtlns.judges.contract import Label, Question, Verdicts
from recbole_dtlns.judges.language_model.estimate import Estimate, estimate
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.language_model.label_card import label_file_card
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.llm.batch_files import RecordedReplies, write_requests
from recbole_dtlns.preparation import ask, judge_question, rehearse
from recbole_dtlns.settings.judge_and_engine import judge_apart
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.teachers.contract import Teacher


@dataclass(frozen=True)
class Judged:
    """A judged question.

    Attributes:
        question: the candidates, with the train data they belong to.
        verdicts: one per candidate.
        inputs: what determined the verdicts, for label cards.
    """

    question: Question
    verdicts: Verdicts
    inputs: dict[str, Any]

    def table(self) -> pd.DataFrame:
        """One row per candidate: user_id, item_id, rank, probability, label."""
        candidates, train = self.question.candidates, self.question.train
        names = np.array([label.name.lower() for label in Label])
        return pd.DataFrame(
            {
                "user_id": train.user_tokens[candidates.users],
                "item_id": train.item_tokens[candidates.items],
                "rank": candidates.ranks,
                "probability": self.verdicts.probability,
                "label": names[self.verdicts.label],
            }
        )

    def write(self, file: str | Path) -> None:
        """Write the labels (.parquet, else tab-separated) and a label card beside them, `<file>.md`."""
        path = Path(file)
        if path.suffix == ".parquet":
            write_file(path, self.table().to_parquet(index=False), "--output")
        else:
            write_file(path, self.table().to_csv(sep="\t", index=False, float_format="%.6g"), "--output")
        write_file(
            path.with_name(f"{path.name}.md"), label_file_card(path.name, self.inputs, self.verdicts), "--output"
        )


@quiet_recbole()
def judge_candidates(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
) -> Judged:
    """Judge the candidates of a run, without training; arguments as for `run_recbole_dtlns`."""
    config = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    return Judged(*judge_question(config.settings.flat, *_train_and_teacher(config), config["show_progress"]))


@quiet_recbole()
def estimate_judging(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    probe: int | None = None,
    arguments: Sequence[str] = (),
) -> Estimate:
    """What the run's LLM judge would cost; other arguments as for `run_recbole_dtlns`.

    Args:
        probe: requests to ask for real, to measure the speed; None: some where the model runs on this machine.

    Raises:
        ConfigError: the judge asks no LLM.
    """
    config = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    judge = _llm_judge(config.settings)
    return estimate(judge, _question(config), probe)


@quiet_recbole()
def export_requests(
    file: str | Path,
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
) -> int:
    """Write the requests that are not answered yet as an OpenAI-batch file; returns how many.

    The replies are read with `dtlns_judge: llm`, `dtlns_engine: recorded` and `dtlns_judge_labels: REPLIES.jsonl`.
    Other arguments as for `run_recbole_dtlns`; `dtlns_judge_model` names the model where the requests will be answered.

    Raises:
        ConfigError: no model is named.
    """
    config = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    flat = config.settings.flat
    judge = LLMJudge.from_flat({**flat, "engine": RecordedReplies.name})
    plan = judge.plan(_question(config))
    pending = plan.missing(judge.store().read().find(plan.keys) >= 0)
    requests = (inquiry.request() for inquiry in plan.inquiries(pending))
    return write_requests(Path(file), requests, judge.engine.model, flat["judge_engine_args"])


@quiet_recbole()
def audit_judges(
    judges: Sequence[str],
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    controls: Sequence[str] = (),
    arguments: Sequence[str] = (),
) -> Audit:
    """Score judges on hidden train positives (`recbole_dtlns.judges.audit`), with the run's teacher and trees.

    Args:
        judges: names of judges; each runs with the settings that a run would give it.
        controls: those of them to be asked again with shuffled and with random paths.
        model, dataset, config_file_list, config_dict, arguments: as for `run_recbole_dtlns`.
    """
    config = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    settings = config.settings
    told = {name: judge_apart(name, settings.flat) for name in judges}
    named = {name: JUDGES.make(flat["judge"], flat) for name, flat in told.items()}
    strangers = sorted(set(controls) - set(judges))
    if strangers:
        raise ConfigError(f"--controls names {', '.join(strangers)}, which --judges does not")
    # Another seed than the one that judges hide with: what they learnt from must not be what they are asked.
    seed = settings.seed + 1
    learns = any(judge.rehearses for judge in named.values())
    known = rehearse(settings.flat, *_train_and_teacher(config), config["show_progress"], seed=seed, within=learns)
    return audit(named, known, seed, controls)


def _question(config: DTLNSConfig) -> Question:
    return ask(config.settings.flat, *_train_and_teacher(config), config["show_progress"])


def _train_and_teacher(config: DTLNSConfig) -> tuple[TrainInteractions, Teacher]:
    train, part = train_split(config)
    return train, make_teacher(config.settings.flat, part)


def _llm_judge(settings: DTLNSSettings) -> LLMJudge:
    judge = JUDGES.make(settings.judge, settings.flat).llm
    if judge is None:
        raise ConfigError(
            f"--dry-run is for judges that ask an LLM; dtlns_judge is '{settings.judge}', which costs nothing: run it"
        )
    return judge
