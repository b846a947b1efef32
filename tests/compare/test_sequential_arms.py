"""Sequential models in a comparison, beside a reference that knows no order."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from ordered import SEQUENCES, walks, write_walks

from recbole_dtlns import run_recbole_dtlns
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.studies.compare.compare import compare

CUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}


def test_sequential_arms_are_compared_with_a_reference_on_the_same_targets(tmp_path: Path) -> None:
    settings = {**write_walks(str(tmp_path / "data")), "epochs": 1, "valid_metric": "NDCG@10", "eval_args": CUT}
    plain = {"dtlns_preset": "off"}
    content = {
        "about": "does guidance help?",
        "model": "GRU4Rec",
        "dataset": SEQUENCES,
        "seeds": [2020],
        "settings": settings,
        "references": ["EASE"],
        "arms": {"plain RecBole": plain, "guided": {"dtlns_loss": "gbce", "dtlns_sampler": "rns"}},
    }
    path = tmp_path / "sequences.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    found = compare(path, output=tmp_path / "out", say=lambda _: None)

    warned = {row.arm: [text for text in row.warnings if "masked for this arm" in text] for row in found.rows}
    assert {arm: len(texts) for arm, texts in warned.items()} == {"plain RecBole": 0, "guided": 0, "EASE": 1}
    users = pd.read_parquet(found.folder / "per_user.parquet")
    assert {arm: len(rows) for arm, rows in users.groupby("arm")} == dict.fromkeys(
        ("EASE", "plain RecBole", "guided"), len(walks())
    )
    history = users.set_index("user_id").groupby("arm")["history"]
    assert history.get_group("EASE").to_dict() == history.get_group("guided").to_dict(), "train is the same"
    result = run_recbole_dtlns("GRU4Rec", SEQUENCES, config_dict={**settings, **plain, "seed": 2020})
    measured = users[users["arm"] == "plain RecBole"]
    for name in ("recall@10", "ndcg@10", "mrr@10"):
        assert measured[name].mean() == pytest.approx(result["test_result"][name], abs=5.1e-5)


def test_several_rows_of_a_user_are_refused(tmp_path: Path) -> None:
    """Tests pair users, and metrics would be of other lists than RecBole's."""
    cut = {"split": {"RS": [0.6, 0.2, 0.2]}, "order": "TO", "mode": "full"}
    content = {
        "about": "who wins?",
        "model": "SASRec",
        "dataset": SEQUENCES,
        "seeds": [2020],
        "settings": {**write_walks(str(tmp_path / "data")), "valid_metric": "NDCG@10", "eval_args": cut},
        "arms": {"plain RecBole": {"dtlns_preset": "off"}, "guided": {}},
    }
    path = tmp_path / "sequences.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError, match=r"measures users.*set eval_args.split to \{LS: valid_and_test\}"):
        compare(path, output=tmp_path / "out", say=lambda _: None)
    assert not (tmp_path / "out").exists()
