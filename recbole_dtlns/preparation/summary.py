"""The prepared stages in sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.storage.artefact_store import Artefact

Facts = Mapping[str, Any]


def summarise(train: TrainInteractions, artefacts: Mapping[str, Artefact]) -> str:
    """One line about the train pairs, and one per stage: computed or reused, and what it found."""
    lines = [
        f"prepared from {train.matrix.nnz} train pairs of {train.n_users} users and {train.n_items} items "
        f"({train.duplicates} duplicate pairs merged)"
    ]
    for stage, artefact in artefacts.items():
        how = "reused" if artefact.reused else "computed"
        lines.append(f"  {stage:<15} {how:<9} {_SENTENCES[stage](artefact.facts)}")
    return "\n".join(lines)


def _teacher(facts: Facts) -> str:
    return (
        f"{facts['teacher']}: {facts['candidates']} candidates; "
        f"{facts['users_with_fewer']} users have fewer than {facts['wanted']}"
    )


def _candidates(facts: Facts) -> str:
    return (
        f"{facts['candidates']} from the file; left out: {facts['rows_of_unknown']} of unknown tokens, "
        f"{facts['rows_observed_in_train']} observed in train, {facts['rows_repeated']} repeated"
    )


def _structure(facts: Facts) -> str:
    return f"{facts['dimensions']} dimensions; {facts['items_alone']} items share no user with another"


def _tree(facts: Facts) -> str:
    parts = [
        f"{facts['leaves']} leaves of {facts['min_leaf_size']} to {facts['max_leaf_size']} items "
        f"(mean {facts['mean_leaf_size']}), depth {facts['min_depth']} to {facts['max_depth']}"
    ]
    if "moved_share" in facts:
        parts.append(f"balancing moved {facts['moved_share']:.1%} of the items per level")
    if facts.get("equal_nodes"):
        parts.append(f"{facts['equal_nodes']} nodes held only equal vectors")
    if facts["without_path"]:
        parts.append(f"{facts['without_path']} items have no path")
    if facts.get("lines_of_unknown_items"):
        parts.append(f"{facts['lines_of_unknown_items']} lines of the file name items that are not in train")
    return "; ".join(parts)


def _verdicts(facts: Facts) -> str:
    reasons = "".join(f" ({count}: {reason})" for reason, count in facts["abstained_because"].items())
    if "agreement_pairs" in facts:
        how = f"; the LLM answered {facts['llm_pairs']}, its student {facts['student_pairs']}"
        if facts["agreement"] is not None:
            how += f" (agreeing on {facts['agreement']:.1%} of {facts['agreement_pairs']} held-out pairs)"
    elif "model" in facts:
        how = f"; asked {facts['model']} in {facts['requests']} requests, {facts['tokens']} tokens"
        how += f" ({facts['mode']})" if facts["mode"] else ""
    elif "rows" in facts:
        how = f"; {facts['found']} of them in {facts['file']}, {facts['rows_of_unknown']} rows name unknown tokens"
    elif "trees_not_read" in facts:
        how = (
            f"; it looked at trees of its own, not at the given ones ({' and '.join(facts['trees_not_read'])}), which "
            "may know the pairs that it learns from (else: dtlns_paths_know_train: False)"
        )
    else:
        how = ""
    total = max(facts["positive"] + facts["negative"] + facts["abstain"], 1)
    return (
        f"{facts['judge']}: {facts['positive']} positive ({facts['positive'] / total:.1%}), "
        f"{facts['negative']} negative, {facts['abstain']} abstained{reasons}{how}"
    )


def _relabelling(facts: Facts) -> str:
    return (
        f"{facts['forbidden']} pairs were called false negatives; {facts['positives']} of them, "
        f"for {facts['users_with_positives']} users, can be added as positives"
    )


_SENTENCES: dict[str, Callable[[Facts], str]] = {
    "teacher": _teacher,
    "candidates": _candidates,
    "structure": _structure,
    "structure tree": _tree,
    "semantic tree": _tree,
    "verdicts": _verdicts,
    "relabelling": _relabelling,
}
