"""Generating from the command line, through a real model on this machine: cost, vectors, requests for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_data import block_pairs, split_pairs
from test_hnlmrec import HARD, HNLMREC
from test_item_text import write_items
from test_protocol_rule import artefact_files
from tiny_model import save_random_llama
from tiny_runs import QUICK, train, write_tiny

from recbole_dtlns import prepare_only
from recbole_dtlns.commands.command_line import main
from recbole_dtlns.llm import transformers_engine
from recbole_dtlns.preparation import Preparation
from recbole_dtlns.text import transformers_encoder
from recbole_dtlns.text.transformers_encoder import TransformersEncoder

RUN = ["--model=BPR", "--dataset=tiny", "--config_files=run.yaml"]
LLM = {**HNLMREC, **HARD, "dtlns_hnlmrec_generator": "llm", "dtlns_hnlmrec_llm_engine": "transformers"}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_random_llama(tmp_path_factory.mktemp("llama"), layers=1))


def write_run(folder: str = "data", parts: Any = None, **settings: Any) -> dict[str, Any]:
    """The data with what items and users say, and run.yaml; returns the settings."""
    keys = write_tiny(folder, parts)
    write_items(folder)
    users = np.unique(block_pairs()[0]).tolist()
    rows = [f"{user}\t{20 + number}" for number, user in enumerate(users)]
    Path(folder, "tiny", "tiny.user").write_text("\n".join(["user_id:token\tage:token", *rows]) + "\n")
    told = {**QUICK, **keys, **LLM, "dtlns_user_text_fields": ["age"], **settings}
    Path("run.yaml").write_text(json.dumps(told))
    return told


def test_the_way_of_generated_negatives(
    llama: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Dry run, generating, generating again, and the vectors read back in a run that asks nobody."""
    told = write_run(dtlns_hnlmrec_llm_model=llama, dtlns_hnlmrec_llm_max_pairs=30)
    assert main(["generate", "--dry-run", "--probe=0", *RUN]) == 0
    said = capsys.readouterr().out
    assert "hard negatives: 30 requests, 0 answered before, 30 to make" in said
    assert "prompt tokens: " in said and "reply tokens: at most 1920" in said and "age: 2" in said
    assert not list(Path("cache").rglob("*.replies"))

    assert main(["generate", "--output=made", *RUN]) == 0
    assert "of 641 train pairs in made" in capsys.readouterr().out
    about = json.loads(Path("made/about.json").read_text())
    assert (about["generator"], about["model"], about["form"]) == ("llm", llama, "text")
    assert main(["generate", "--dry-run", "--probe=0", *RUN]) == 0
    assert "30 requests, 30 answered before, 0 to make" in capsys.readouterr().out

    caplog.clear()
    before = artefact_files("cache")
    run = train("BPR", {}, **told)
    assert artefact_files("cache") == before and "asking" not in caplog.text, "training reads what is there"
    assert run.result["test_result"]["ndcg@10"] > 0


def test_requests_of_each_step_are_exported_and_their_replies_read(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(dtlns_hnlmrec_profile="llm", dtlns_hnlmrec_llm_model="m", dtlns_hnlmrec_llm_max_pairs=25)
    export = ["export", "--of=generator", "--output=asked.jsonl", *RUN]
    given = [*RUN, "--dtlns_hnlmrec_llm_engine=recorded", "--dtlns_hnlmrec_llm_replies_file=replies.jsonl"]
    assert main(export) == 0
    assert "48 requests for profiles of users, 80 requests for profiles of items" in capsys.readouterr().out
    answer("a profile")
    assert main(["generate", *given]) == 2
    assert "recbole-dtlns export --of=generator" in capsys.readouterr().err
    assert main(export) == 0
    # Pairs with equal profiles are one request.
    assert "1 requests for hard negatives in asked.jsonl" in capsys.readouterr().out
    answer("jolly karma linen")
    assert main(["generate", *given]) == 0
    assert "vectors of 25 of 641 train pairs" in capsys.readouterr().out


def answer(text: str) -> None:
    """A batch service answers every request in asked.jsonl with this."""
    lines = [json.loads(line) for line in Path("asked.jsonl").read_text().splitlines()]
    assert all(line["body"]["model"] == "m" and line["url"] == "/v1/chat/completions" for line in lines)
    body = {"choices": [{"message": {"role": "assistant", "content": text}}]}
    replies = [{"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}} for line in lines]
    Path("replies.jsonl").write_text("".join(json.dumps(reply) + "\n" for reply in replies))


@pytest.mark.parametrize("profile", ["template", "llm"])
@pytest.mark.parametrize("form", ["text", "vector"])
def test_prompts_and_vectors_are_byte_identical_when_every_evaluation_pair_is_replaced(
    form: str, profile: str, llama: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a model reads, and all that is kept."""
    read: list[str] = []
    watch(monkeypatch, read)
    part, valid, test = split_pairs(*block_pairs())
    new_valid = (np.append(test[0], ["a-new-user", "u0-00"]), np.append(test[1], ["i1-01", "i9-99"]))
    new_test = (np.append(valid[0][::-1], "zz-new-user"), np.append(valid[1], "i8-88"))
    asked, made = [], []
    for name, parts in (("first", (part, valid, test)), ("second", (part, new_valid, new_test))):
        told = write_run(
            name,
            parts,
            dtlns_hnlmrec_llm_form=form,
            dtlns_hnlmrec_profile=profile,
            dtlns_hnlmrec_llm_model=llama,
            dtlns_hnlmrec_llm_max_pairs=20,
            dtlns_hnlmrec_llm_match="text",
            dtlns_text_encoder="transformers",
            dtlns_text_model=llama,
            dtlns_cache_dir=f"cache-{name}",
        )
        read.clear()
        done = prepare_only("BPR", "tiny", config_dict=told)
        assert isinstance(done, Preparation) and done.generated is not None
        users, items = done.train.histories()
        made.append(done.generated.of(users, items, np.zeros(len(users)))[0].tobytes())
        asked.append(list(read))
    assert asked[0] == asked[1] and len(asked[0]) >= 20
    assert not any("i9-99" in text or "i8x88" in text for text in asked[1])
    assert made[0] == made[1]
    files = kept_files("cache-first")
    assert files == kept_files("cache-second") and any(name.startswith("generated") for name in files)
    kept = [sorted(path.name for path in Path(f"cache-{name}").rglob("vectors.npy")) for name in ("first", "second")]
    assert kept[0] == kept[1] == (["vectors.npy"] if form == "vector" else [])


def kept_files(folder: str) -> dict[str, bytes]:
    """What is kept, by name; files of replies are named by time and process."""
    found = artefact_files(folder)
    return {str(Path(name).parent) if name.endswith(".replies") else name: found[name] for name in sorted(found)}


def watch(monkeypatch: pytest.MonkeyPatch, read: list[str]) -> None:
    """Note every prompt and every text that is encoded."""
    answers, encodes = transformers_engine._Running.answer, transformers_encoder._Running.encode

    def answer(self: Any, requests: Any) -> Any:
        read.extend(json.dumps(request.messages) for request in requests)
        return answers(self, requests)

    def encode(self: Any, texts: Any) -> Any:
        read.extend(texts)
        return encodes(self, texts)

    monkeypatch.setattr(transformers_engine._Running, "answer", answer)
    monkeypatch.setattr(transformers_encoder._Running, "encode", encode)


def test_a_query_vector_is_what_the_encoder_says_of_the_prompt(llama: str) -> None:
    """In the items' space, of length 1, mapped, and begun again where a run was killed."""
    told = write_run(
        dtlns_hnlmrec_llm_form="vector",
        dtlns_text_encoder="transformers",
        dtlns_text_model=llama,
        dtlns_text_pooling="last",
        dtlns_text_prompt="no ",
        dtlns_hnlmrec_llm_history=2,
    )
    done = prepare_only("BPR", "tiny", config_dict=told)
    assert isinstance(done, Preparation) and done.generated is not None and done.vectors is not None
    assert isinstance(done.generated.table, np.memmap)  # type: ignore[attr-defined]
    assert done.generated.dimension == done.vectors.shape[1] == 64
    users, items = done.train.histories()
    vectors, known = done.generated.of(users, items, np.zeros(len(users)))
    assert known.all() and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)

    texts = dict(line.split("\t")[:2] for line in Path("data/tiny/tiny.item").read_text().splitlines()[1:])
    ages = dict(line.split("\t") for line in Path("data/tiny/tiny.user").read_text().splitlines()[1:])
    pair = 100
    user, item = done.train.user_tokens[users[pair]], done.train.item_tokens[items[pair]]
    latest = done.train.item_tokens[items[users == users[pair]][-2:]].tolist()
    query = (
        f"A user likes:\nage: {ages[user]}\n{texts[latest[0]]}\n{texts[latest[1]]}\nThe user chose: {texts[item]}\n"
        "An item that is like these, and that the user would not choose:"
    )
    encoder = TransformersEncoder(model=llama, pooling="last")
    with encoder.start() as running:
        due = next(iter(running.encode([query])))[1][0]
    assert np.allclose(vectors[pair], due / np.linalg.norm(due), atol=2e-3)


def test_encoding_is_priced_before_it_is_done(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = write_run(dtlns_text_encoder="transformers", dtlns_text_model=llama, dtlns_hnlmrec_generator="rule")
    assert main(["prepare", "--dry-run", *RUN]) == 0
    said = capsys.readouterr().out
    assert "texts of items: 80 different ones, 0 with a vector already; 880 tokens to encode" in said
    assert not list(Path("cache").rglob("*.safetensors"))
    prepare_only("BPR", "tiny", config_dict=told)
    assert main(["prepare", "--dry-run", *RUN]) == 0
    assert "80 with a vector already; 0 tokens to encode" in capsys.readouterr().out
    assert main(["prepare", "--dry-run", *RUN, "--dtlns_text_encoder=tfidf"]) == 0
    assert "encoded in this process without a model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--dtlns_method=dtlns"], "dtlns_method: dtlns generates no negatives"),
        (["generate", "--dry-run", "--dtlns_hnlmrec_generator=rule"], "asks no language model and costs nothing"),
        (["generate", "--dtlns_hnlmrec_llm_engine=openai"], "needs dtlns_judge_model"),
        (["generate", "--dtlns_hnlmrec_llm_engine=oppenai"], "Did you mean 'openai'"),
        (["generate", "--dtlns_text_fields=[]"], "set dtlns_text_fields"),
        (["generate", "--dtlns_hnlmrec_space=teacher", "--dtlns_hnlmrec_llm_model=m"], "dtlns_hnlmrec_space: teacher"),
        (
            ["generate", "--dtlns_hnlmrec_llm_model=m", "--dtlns_user_text_fields=[agee]"],
            "it has age: set dtlns_user_text_fields",
        ),
        (["generate", "--dtlns_hnlmrec_llm_model=m", "--dtlns_hnlmrec_llm_prompt=query"], "query"),
        (["generate", "--dtlns_hnlmrec_llm_model=m", "--probe=2"], "say --dry-run too"),
        (["generate", "--dtlns_hnlmrec_generator=rule", "--output=run.yaml"], "--output=run.yaml is a file"),
        (
            ["generate", "--dtlns_hnlmrec_generator=rule", "--output=run.yaml/sub"],
            "cannot write run.yaml/sub/vectors.npy",
        ),
        (["generate", "--dtlns_hnlmrec_generator=rule", "--output="], "--output= names no folder"),
        (["finetune", "--base=any", "--output=run.yaml"], "--output=run.yaml is a file"),
        (["judge", "--probe=2"], "say --dry-run too"),
        (["generate", "--dry-run", "--dtlns_hnlmrec_llm_model=m", "--probe=-1"], "a number of requests, from 0"),
        (["finetune", "--base=/no/model"], "--base=/no/model is no folder"),
        (["finetune", "--dry-run", "--base=/no/model"], "--base=/no/model is no folder"),
        (["finetune", "--dry-run", "--base=data"], "holds no config.json, so no model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_run()
    assert main([*arguments, *RUN]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
