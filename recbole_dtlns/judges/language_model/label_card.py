"""Label cards: what a set of verdicts holds, how it was made, what it cost, how to use it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_dtlns.judges.contract import Label, Verdicts
from recbole_dtlns.judges.language_model.answers import Reason
from recbole_dtlns.judges.language_model.verdict_store import StoredVerdicts

_TOKENS = "Tokens computed: generated ones, and prompt tokens that no prefix cache held, as far as the engine tells."


def verdict_set_card(identity: Mapping[str, Any], stored: StoredVerdicts, last: Mapping[str, Any]) -> str:
    """The card of a verdict set, in markdown.

    Args:
        identity: of the set: model, revision, prompt.
        stored: its verdicts.
        last: facts of the last round of asking.
    """
    rows = stored.rows
    abstained = rows["reason"][rows["label"] == Label.ABSTAIN]
    reasons = {Reason(code).sentence: int((abstained == code).sum()) for code in np.unique(abstained).tolist()}
    verdicts = Verdicts(rows["probability"], rows["label"], reasons)
    facts = {
        "model": identity["model"],
        "revision": identity["revision"] or "not stated",
        "prompt (SHA-256)": identity["prompt"],
        "answered by, as the server says": last["answered_by"],
        **_counts(verdicts),
        "tokens computed": int(np.sum(rows["tokens"], dtype=np.int64)),
        "damaged rows left out": stored.damaged,
        "last round: mode": last["mode"] or "nothing had to be asked",
        "last round: requests, verdicts, tokens": f"{last['requests']}, {last['asked']}, {last['tokens']}",
        "last round: prompts that lost their oldest items": last["truncated"],
    }
    return f"""# Verdicts of {identity["model"]}

Is an unobserved item a false negative for a user? One verdict for every different prompt.

{_table(facts)}

{_TOKENS}

## Use it again

The same `dtlns_judge_model`, `dtlns_judge_revision` and `dtlns_judge_prompt` with the same `dtlns_cache_dir` find these
verdicts: pairs with the same codes (or texts, where the prompt shows these) of history and candidate are never asked
again, whatever engine or data set. To share labels by user and item, write them with `recbole-dtlns judge ...
--output=labels.tsv`. How good they are on your data: `recbole-dtlns audit --judges=...`.
"""


def label_file_card(file: str, inputs: Mapping[str, Any], verdicts: Verdicts) -> str:
    """The card of a file of labels by user and item, in markdown.

    Args:
        file: name of the file.
        inputs: of the judge (`Judge.inputs`).
        verdicts: that the file holds.
    """
    facts = {**_counts(verdicts), **verdicts.facts}
    return f"""# Labels in {file}

Is an unobserved item a false negative for a user? One row for every candidate: user_id, item_id, the teacher's rank,
the probability (empty: the judge abstained) and the label.

{_table(facts)}

{_TOKENS}

Made by the judge with these settings:

```json
{json.dumps(inputs, indent=2)}
```

## Use it again

On the same data, `dtlns_judge: recorded` with `dtlns_judge_labels: {file}` gives these labels to the candidates they
were made for; the labels know the train pairs only. How good they are: `recbole-dtlns audit --judges=...` with the
judge itself.
"""


def _counts(verdicts: Verdicts) -> dict[str, Any]:
    counts = verdicts.counts()
    answered = counts["positive"] + counts["negative"]
    probabilities = verdicts.probability[~np.isnan(verdicts.probability)]
    quartiles = np.quantile(probabilities, [0, 0.25, 0.5, 0.75, 1]) if len(probabilities) else []
    return {
        "verdicts": len(verdicts.label),
        **counts,
        "positive rate of the answered": f"{counts['positive'] / answered:.1%}" if answered else "none answered",
        **{f"abstained: {reason}": count for reason, count in verdicts.abstained.items()},
        "probability: minimum, quartiles, maximum": ", ".join(f"{value:.3f}" for value in quartiles) or "none",
    }


def _table(facts: Mapping[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())])
