"""The label card of a verdict set: what it holds, how it was made, what it cost, how to use it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_dtlns.judge.contract import Label
from recbole_dtlns.llm.reply import Reason
from recbole_dtlns.llm.verdict_store import StoredVerdicts


def label_card(identity: Mapping[str, Any], stored: StoredVerdicts, last: Mapping[str, Any]) -> str:
    """The card in markdown.

    Args:
        identity: of the verdict set: model, revision, prompt.
        stored: its verdicts.
        last: facts of the last round of asking.
    """
    rows = stored.rows
    counts = {label: int((rows["label"] == label).sum()) for label in Label}
    answered = counts[Label.POSITIVE] + counts[Label.NEGATIVE]
    rate = f"{counts[Label.POSITIVE] / answered:.1%}" if answered else "none answered"
    reasons = {
        Reason(code).sentence: int((rows["reason"] == code).sum())
        for code in np.unique(rows["reason"][rows["label"] == Label.ABSTAIN]).tolist()
    }
    probabilities = rows["probability"][~np.isnan(rows["probability"])]
    spread = (
        ", ".join(f"{value:.3f}" for value in np.quantile(probabilities, [0, 0.25, 0.5, 0.75, 1]))
        if len(probabilities)
        else "none"
    )
    lines = [
        f"# Verdicts of {identity['model']}",
        "",
        "Is an unobserved item a false negative for a user? One verdict for each different prompt.",
        "",
        "| | |",
        "|---|---|",
        f"| model | {identity['model']} |",
        f"| revision | {identity['revision'] or 'not stated'} |",
        f"| prompt (SHA-256) | `{identity['prompt']}` |",
        f"| verdicts | {len(rows)} |",
        f"| positive | {counts[Label.POSITIVE]} |",
        f"| negative | {counts[Label.NEGATIVE]} |",
        f"| positive rate of the answered | {rate} |",
        f"| abstained | {counts[Label.ABSTAIN]} |",
        *(f"| abstained: {reason} | {count} |" for reason, count in reasons.items()),
        f"| probability: minimum, quartiles, maximum | {spread} |",
        f"| tokens computed | {int(np.sum(rows['tokens'], dtype=np.int64))} |",
        f"| damaged rows left out | {stored.damaged} |",
        f"| last round: mode | {last['mode'] or 'nothing had to be asked'} |",
        f"| last round: requests, verdicts, tokens | {last['requests']}, {last['asked']}, {last['tokens']} |",
        f"| last round: prompts that lost their oldest items | {last['truncated']} |",
        "",
        "Tokens computed: prompt tokens that were not in a prefix cache, as far as the engine tells, and generated ones.",
        "",
        "## Use it again",
        "",
        "The same `dtlns_judge_model`, `dtlns_judge_revision` and `dtlns_judge_prompt` with the same `dtlns_cache_dir`",
        "find these verdicts: pairs with the same codes of history and candidate are never asked again,",
        "whatever engine or data set. To share labels by user and item, write them with",
        "`recbole-dtlns judge ... --output=labels.tsv` and read them with `dtlns_judge: recorded`,",
        "`dtlns_judge_labels: labels.tsv`. How good they are on your data: `recbole-dtlns audit --judges=...`.",
        "",
    ]
    return "\n".join(lines)
