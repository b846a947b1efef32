"""explain as a user meets it: what is said is what the run knows, and nothing in the data is read as HTML."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tiny_model import save_random_llama
from tiny_runs import PLAIN, train, write_tiny

from recbole_dtlns import load_run
from recbole_dtlns.bridge.serving.explain import Explainer
from recbole_dtlns.bridge.serving.kept_data import DATA
from recbole_dtlns.commands.command_line import main
from recbole_dtlns.errors import DataError
from recbole_dtlns.llm.transformers_engine import TransformersEngine
from recbole_dtlns.reports.reasons import reasons_page

COUNCIL = {"dtlns_teachers": ["EASE", "ItemKNN"], "dtlns_judge": "calibrated", "dtlns_relabel_decay": 1.0}


def shop() -> dict[str, Any]:
    """The block data, with titles that a page could stumble over."""
    keys = write_tiny(str(Path("data").resolve()))
    items = {row.split("\t")[1] for row in Path("data/tiny/tiny.train.inter").read_text().splitlines()[1:]}
    titles = [f'{item}\t<b>Film</b> & "{item}"' for item in sorted(items)]
    Path("data/tiny/tiny.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *titles, ""]))
    return keys


def test_a_recommendation_is_explained_from_the_run_folder_alone(capsys: pytest.CaptureFixture[str]) -> None:
    folder = train("LightGCN", shop(), **PLAIN).folder
    shutil.rmtree("data")
    run = load_run(folder)
    user = run.users[0]
    found = Explainer(run).explain(user, k=3)
    best = next(iter(run.recommend([user], 3)))[1]
    assert [(one.item, one.rank) for one in found.items] == [(item, place) for place, (item, _) in enumerate(best, 1)]
    vectors = dict(zip(run.items, run.item_vectors / np.linalg.norm(run.item_vectors, axis=1)[:, None], strict=True))
    history = run.items_of(user, "train")
    near = found.items[0].views[0].nearest
    expected = sorted((float(vectors[item] @ vectors[best[0][0]]) for item in history), reverse=True)[:3]
    np.testing.assert_allclose([one.similarity for one in near], expected, rtol=1e-4)
    assert not found.missing
    assert main(["explain", str(folder), f"--user={user}", "--k=2"]) == 0
    said = capsys.readouterr().out
    assert f"user {user}, LightGCN on tiny" in said and "number 1 of the recommendations" in said


def test_verdicts_of_a_language_model_are_looked_up_and_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model = save_random_llama("llama", layers=1)
    judge = {"dtlns_judge": "transformers", "dtlns_judge_model": str(model), "dtlns_judge_max_history": 5}
    trained = train("BPR", shop(), **judge, epochs=1, dtlns_candidates=2)
    prepared, run = trained.preparation, load_run(trained.folder)
    monkeypatch.setattr(TransformersEngine, "start", lambda self: pytest.fail("the model is asked"))
    candidates, users = prepared.candidates, prepared.train.user_tokens
    for row in (0, len(candidates) - 1):
        user, item = str(users[candidates.users[row]]), str(prepared.train.item_tokens[candidates.items[row]])
        judged = Explainer(run).explain(user, item).items[0].judged
        assert judged is not None and judged.judge == "llm"
        assert judged.probability == pytest.approx(float(prepared.verdicts.probability[row]))
    (model / "config.json").write_text("{}")  # another state of the model has verdicts of its own
    found = Explainer(run).explain(user, item)
    assert found.items[0].judged is not None and found.items[0].judged.probability is None
    assert any("has none of these pairs to look up" in why for why in found.missing)


@pytest.fixture
def taught() -> Any:
    """A run with a council, and what it prepared."""
    return train("BPR", shop(), **COUNCIL, epochs=2)


def test_what_was_prepared_is_found_again_and_named(taught: Any) -> None:
    run, prepared = load_run(taught.folder), taught.preparation
    positives, known = prepared.relabelling.positives, prepared.train
    place = int(np.flatnonzero(positives.place == 1)[0])
    user, item = known.user_tokens[positives.users[place]], known.item_tokens[positives.items[place]]
    row = np.flatnonzero(
        (prepared.candidates.users == positives.users[place]) & (prepared.candidates.items == positives.items[place])
    )[0]
    (found,) = Explainer(run).explain(user, item).items
    judged = found.judged
    assert judged is not None
    assert (judged.judge, judged.verdict, judged.place) == ("calibrated", "false negative", 2)
    assert judged.probability == pytest.approx(float(prepared.verdicts.probability[row]))
    assert judged.weight == pytest.approx(0.3 / 2)
    assert [one.teacher for one in judged.opinions] == ["EASE", "ItemKNN"]
    assert "EASE_rank" in judged.features and "structure_overlap" in judged.features
    assert [view.name for view in found.views] == [
        "nearest in the model's vectors",
        "nearest for the teacher EASE",
        "nearest for the teacher ItemKNN",
        "nearest in the structure tree",
        "nearest in the semantic tree",
    ]


def test_a_refit_is_explained_by_what_the_refit_prepared() -> None:
    run = train("BPR", shop(), **COUNCIL, refit=True)
    found = Explainer(load_run(run.folder)).explain("u0-00", k=1)
    assert found.refit and not found.missing
    user = run.train.token2id("user_id", "u0-00")
    assert len(found.history) == int((run.train.inter_feat["user_id"] == user).sum())


def test_what_is_gone_is_said_and_the_rest_explained(taught: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("cache")
    assert main(["explain", str(taught.folder), "--user=u0-00", "--k=1"]) == 0
    said = capsys.readouterr().out
    assert "note: what was prepared for this run cannot be looked up" in said and "recbole-dtlns prepare" in said
    assert "nearest in the model's vectors" in said
    assert not Path("cache").exists(), "nothing is prepared"


def test_a_damaged_artefact_is_named_and_nothing_is_promised(taught: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for file in Path("cache").rglob("*.safetensors"):
        file.write_bytes(bytes(100))
    before = {file: file.read_bytes() for file in Path("cache").rglob("*") if file.is_file()}
    assert main(["explain", str(taught.folder), "--user=u0-00", "--k=1"]) == 0
    said = capsys.readouterr()
    assert "is damaged or was edited" in said.out and "recbole-dtlns prepare" in said.out
    assert "rebuilt" not in said.out + said.err
    assert {file: file.read_bytes() for file in Path("cache").rglob("*") if file.is_file()} == before


def test_what_is_gone_can_be_made_again_though_the_run_that_went_on_is_gone_too(
    taught: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    later = train("BPR", shop(), **COUNCIL, epochs=2, resume_from=str(taught.folder))
    shutil.rmtree(taught.folder)
    shutil.rmtree("cache")
    assert main(["prepare", f"--config_files={later.folder / 'config.yaml'}"]) == 0
    capsys.readouterr()
    assert main(["explain", str(later.folder), "--user=u0-00", "--k=1"]) == 0
    assert "note:" not in capsys.readouterr().out


def test_a_page_without_a_name_is_refused(taught: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(taught.folder), "--user=u0-00", "--html="]) == 2
    assert "--html= names no file" in capsys.readouterr().err


def test_the_page_shows_what_the_data_hold_as_it_is_written(taught: Any) -> None:
    page = reasons_page(Explainer(load_run(taught.folder)).explain("u0-00"))
    assert "<b>Film</b>" not in page and "&lt;b&gt;Film&lt;/b&gt; &amp; &quot;i" in page

    class Reader(HTMLParser):
        seen: ClassVar[list[str]] = []

        def handle_starttag(self, tag: str, attributes: Any) -> None:
            self.seen.append(tag)
            assert not [value for name, value in attributes if name in ("src", "href")], "it needs no other file"

    Reader().feed(page)
    assert Reader.seen.count("h1") == 1


def test_a_page_of_one_item_speaks_of_it_alone(taught: Any) -> None:
    explainer = Explainer(load_run(taught.folder))
    several = explainer.explain("u0-00", k=2)
    assert "Why these items for user u0-00?" in reasons_page(several)
    page = reasons_page(explainer.explain("u0-00", several.items[1].item))
    assert "<h1>Why this item for user u0-00?</h1>" in page and ": number 2 of the recommendations</h2>" in page
    assert "<h2>2. " not in page


def test_an_item_that_is_no_candidate_and_like_nothing_says_so(taught: Any) -> None:
    explainer, prepared = Explainer(load_run(taught.folder)), taught.preparation
    owner = prepared.train.user_tokens.tolist().index("u0-00")
    named = set(prepared.candidates.items[prepared.candidates.users == owner].tolist())
    had = set(prepared.train.matrix.tocsr()[[owner]].indices.tolist())
    others = [token for place, token in enumerate(prepared.train.item_tokens) if place not in named | had]
    found = explainer.explain("u0-00", others[-1])
    assert "before training: it was not among any teacher's first 20" in found.text()
    assert [line for line in found.text().splitlines() if line.endswith("tree: none")]
    assert "<td>none</td>" in reasons_page(found)


def test_unknown_users_and_items_are_named_with_the_nearest(taught: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--user=u0-0O"], "knows no user 'u0-0O', out of 48. Did you mean 'u0-"),
        (["--user=u0-00", "--item=i0-O1"], "knows no item 'i0-O1', out of 80. Did you mean 'i0-"),
    ):
        assert main(["explain", str(taught.folder), *arguments]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(DataError, match="knows no user"):
        Explainer(load_run(taught.folder)).explain("[PAD]")


def test_a_damaged_or_leaking_run_is_refused(taught: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (taught.folder / DATA).write_bytes(b"none")
    assert main(["explain", str(taught.folder), "--user=u0-00"]) == 2
    assert DATA in capsys.readouterr().err
    leaking = train("BPR", shop_again(), dtlns_preset="authors", dtlns_teacher="EASE", dtlns_relabel_graph=False)
    assert main(["explain", str(leaking.folder), "--user=u0-00"]) == 2
    assert "leaking protocol" in capsys.readouterr().err
    assert main(["explain", str(leaking.folder), "--user=u0-00", "--allow-leaking", "--html=why.html"]) == 0
    assert "LEAKING: user u0-00" in capsys.readouterr().out
    assert "LEAKING" in Path("why.html").read_text()


def shop_again() -> dict[str, Any]:
    return {
        "data_path": "data",
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
    }
