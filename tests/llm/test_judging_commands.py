"""Judging from the command line: cost in advance, labels and their card, requests for others, verdicts kept."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny_model import save_random_llama

from recbole_dtlns.commands.command_line import main
from recbole_dtlns.studies import judging

RUN = ["--model=BPR", "--dataset=ml-100k", "--dtlns_candidates=2", "--show_progress=False"]
RUN += ["--user_inter_num_interval=[0,40]"]  # 305 of 943


def test_the_way_of_an_llm_judge(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Dry run, judging, judging again, the labels read back: through a real model on this machine."""
    model = save_random_llama("llama", layers=1)
    llm = [*RUN, "--dtlns_judge=transformers", f"--dtlns_judge_model={model}", "--dtlns_judge_max_history=5"]
    assert main(["judge", "--dry-run", "--probe=0", *llm]) == 0
    said = capsys.readouterr().out
    assert "610 pairs: 0 answered before" in said and "example 3" in said and "time: unknown" in said
    assert not Path("labels.tsv").exists() and not list(Path("cache/llm-verdicts").rglob("*.verdicts"))

    assert main(["judge", "--dry-run", "--probe=16", *llm]) == 0
    assert "16 requests asked just now" in capsys.readouterr().out

    assert main(["judge", "--output=out/labels.tsv", *llm]) == 0
    said = capsys.readouterr().out
    labels = pd.read_csv("out/labels.tsv", sep="\t", dtype={"user_id": str, "item_id": str})
    assert list(labels) == ["user_id", "item_id", "rank", "probability", "label"] and len(labels) == 610
    assert labels["probability"].between(0, 1).all()
    card = Path("out/labels.tsv.md").read_text()
    assert str(model) in card and "| verdicts | 610 |" in card
    shard_card = next(Path("cache/llm-verdicts").rglob("LABELS.md")).read_text()
    assert "log-probabilities" in shard_card

    caplog.clear()
    assert main(["judge", "--output=again.tsv", *llm]) == 0
    assert "answered before; asking" not in caplog.text, "every verdict is kept"
    assert Path("again.tsv").read_bytes() == Path("out/labels.tsv").read_bytes()

    caplog.clear()
    assert main(["prepare", *RUN, "--dtlns_judge=recorded", "--dtlns_judge_labels=out/labels.tsv"]) == 0
    assert "610 of them in out/labels.tsv" in caplog.text
    positive = (labels["label"] == "positive").sum()
    assert f"{positive} positive, {610 - positive} negative, 0 abstained; labels in out/labels.tsv" in said
    assert f"recorded: {positive} positive" in caplog.text


def test_requests_are_exported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--output=asked.jsonl", "--dtlns_judge_model=any", *RUN]) == 0
    lines = [json.loads(line) for line in Path("asked.jsonl").read_text().splitlines()]
    assert f"{len(lines)} requests in asked.jsonl" in capsys.readouterr().out
    assert len({line["custom_id"] for line in lines}) == len(lines) > 300


def test_candidates_come_from_a_file(caplog: pytest.LogCaptureFixture) -> None:
    Path("candidates.tsv").write_text("user_id\titem_id\n4\t1545\n4\t1592\nnobody\t11\n")
    assert main(["prepare", *RUN, "--dtlns_candidates_file=candidates.tsv", "--dtlns_judge=always"]) == 0
    assert "candidates      computed  2 from the file; left out: 1 of unknown tokens" in caplog.text
    assert "always: 2 positive" in caplog.text


def test_an_audit_hides_by_the_runs_seed_and_not_as_judges_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judges that learn hide with the seed itself: they must not be asked what they learnt from."""
    seeds: list[int] = []
    monkeypatch.setattr(judging, "audit", lambda judges, rehearsal, seed, controls: seeds.append(seed))
    for seed in (3, 8):
        judging.audit_judges(["rank"], "BPR", "ml-100k", arguments=[*RUN[2:], f"--dtlns_seed={seed}"])
    assert seeds == [4, 9]


def test_an_empty_list_of_controls_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *RUN, "--judges=rank,structural", "--controls="]) == 0
    assert "random paths" not in capsys.readouterr().out


def test_an_audit_writes_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *RUN, "--judges=rank,structural", "--output=found.json"]) == 0
    assert "structural, random paths" in capsys.readouterr().out
    assert set(json.loads(Path("found.json").read_text())["scores"]) >= {"rank", "structural, shuffled paths"}
    assert "Which judge finds false negatives?" in Path("found.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["judge", "--dtlns_judge=transformers"], "needs dtlns_judge_model"),
        (["judge", "--dtlns_judge=transformers", "--dtlns_judge_model=nowhere"], "nowhere"),
        (["judge", "--dtlns_judge=openai"], "needs dtlns_judge_model"),
        (["judge", "--dtlns_judge=openai", "--dtlns_judge_model=m", "--dtlns_judge_prompt=none.yaml"], "none.yaml"),
        (
            ["judge", "--dtlns_judge=openai", "--dtlns_judge_model=m", "--dtlns_judge_api_key_env=NOT_SET_X"],
            "NOT_SET_X",
        ),
        (["judge", "--dtlns_judge=recorded"], "needs dtlns_judge_labels"),
        (["judge", "--dtlns_judge=distilled", "--dtlns_judge_llm=rank"], "unknown engine 'rank'"),
        (["judge", "--dry-run"], "costs nothing"),
        (["export"], "needs dtlns_judge_model"),
        (["audit", "--judges=rank", "--controls=structural"], "--controls names structural"),
        (["prepare", "--dtlns_candidates_file=none.tsv"], "none.tsv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, *RUN]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
