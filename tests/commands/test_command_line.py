"""The commands as a user meets them: what they print, and what a mistake looks like."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from block_data import block_pairs, split_pairs, write_splits
from processes import PATIENCE, Child, Children, run, wait_for

from recbole_dtlns.commands.command_line import main
from recbole_dtlns.commands.train import _result_table
from recbole_dtlns.training.checkpoint import Checkpoint

QUICK = ["--dataset=ml-100k", "--epochs=1", "--eval_batch_size=400000", "--show_progress=False"]
QUICK += ["--user_inter_num_interval=[0,40]"]  # a tenth of the pairs
MISTAKES = [
    (["train", "--model=BPR", "--dataset=ml-100k", "--dtlns_aplha_structure=1"], "dtlns_alpha_structure"),
    (["train", "--model=BRP", "--dataset=ml-100k"], "Did you mean 'BPR'"),
    (["train", "--dataset=ml-100k"], "no model given"),
    (["train", "--resume_from=saved/x", "--epochs=5"], "config.yaml of the run that saved/x belongs to"),
    (["train", "--model=BPR"], "no dataset given"),
    (["train", "--model=BPR", "--dataset=nothing"], "no data set 'nothing'"),
    (["train", "--model=BPR", "--dataset=ml-100k", "--config_files=none.yaml"], "none.yaml"),
    (["train", "--model=BPR", "--dataset=ml-100k", "--resume_from=none.pth", "--epochs=1"], "none.pth"),
    (["train", "--model=MultiVAE", "--dataset=ml-100k"], "MultiVAE takes neither"),
    (["train", "--model=BPR", "--dataset=ml-100k", "--checkpoint_dir=file/below"], "checkpoint_dir"),
    (["train", "--model=BPR", "--dataset=ml-100k", "--dtlns_cache_dir=file/below"], "dtlns_cache_dir"),
    (["prepare", "--model=BPR", "--dataset=ml-100k", "--dtlns_structure_paths=none.tsv"], "none.tsv"),
    (["audit", "--model=BPR", "--dataset=ml-100k", "--judges=allways"], "Did you mean 'always'"),
    (["doctor", "--verbose"], "doctor does not take --verbose"),
    (["train", "--model=BPR", "--dataset=ml-100k", "--topk=1684", "--valid_metric=MRR@1684"], "has 1682 items"),
    (["train", "--model=BPR", "--dataset=ml-100k", "--alias_of_user_id=['x']"], "cannot load the data set"),
    (["train", "--model=BPR", "--dataset=ml-100"], "a known dataset name. Check data_path"),
    (["train", "--model=BPR", "--dataset=ml-100k", "--epoch=3"], "Did you mean 'epochs'"),
    (["train", "--model=BPR", "--dataset=ml-100k", "--metrics=['Recal']"], "Did you mean 'recall'"),
    (["judge", "--model=BPR", "--dataset=ml-100k", "--ouput=mine.tsv"], "Did you mean '--output'"),
    (["judge", "--model=BPR", "--dataset=ml-100k", "--dry-rnu"], "Did you mean '--dry-run'"),
    (["compare", "list", "--job=4"], "compare has no option --job. Did you mean '--jobs'"),
    (["tune", "--spcae=BPR", "--model=BPR", "--dataset=ml-100k"], "Did you mean '--space'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_ends_with_status_2_and_one_message(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("a file, where a folder would be needed")
    assert main(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("recbole-dtlns: ") and message in last


def test_a_run_that_is_not_there_is_refused_before_any_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--model=BPR", "--resume_from=saved/none", *QUICK]) == 2
    assert "resume_from: saved/none does not exist" in capsys.readouterr().err
    assert not Path("saved").exists() and not Path("cache").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--dataset=ml-100"], "Did you mean 'ml-100k'"),
        (["--dataset=shop", "--data_path=data"], "no file data/shop/shop.inter"),
        (["--dataset=shop", "--data_path=data", "--benchmark_filename=['train','valid','test']"], "shop.train.inter"),
    ],
)
def test_a_data_set_that_is_not_there_leaves_nothing_behind(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data/shop").mkdir(parents=True)
    assert main(["train", "--model=BPR", *given]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["data"]


def test_what_is_like_an_option_is_a_key_where_it_is_known_or_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    """RecBole's `state` is all but tune's --space."""
    for key in ("--state=INFO", "--spaces=3"):
        status = main(["tune", key, "--space=none.yaml", "--model=BPR", "--dataset=ml-100k", "--allow_unknown_keys"])
        assert status == 2 and "none.yaml" in capsys.readouterr().err, key
    assert main(["tune", "--state=INFO", "--space=none.yaml", "--model=BPR", "--dataset=ml-100k"]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_a_command_that_is_mistyped_is_named_with_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convrt", "shop.csv"]) == 2
    assert "no command 'convrt'. Did you mean 'convert'?" in capsys.readouterr().err


def test_heads_of_a_refits_results_stand_apart() -> None:
    metrics = {"recall@10": 0.1234}
    result = {
        "best_valid_result": metrics,
        "refit": {"test_result": metrics, "train_pairs": 9, "epochs": 2},
        "leaking": False,
        "run_folder": "saved/one",
    }
    head, row, *_ = _result_table(result).splitlines()
    assert re.split(" {2,}", head) == ["metric", "valid (on train)", "test (refit)"]
    assert re.split(" {2,}", row) == ["recall@10", "0.1234", "0.1234"]
    assert [place.start() for place in re.finditer(r"(?<=  )\S", head)] == [
        place.start() for place in re.finditer(r"(?<=  )\S", row)
    ]


def test_the_keys_of_a_kind_begin_with_the_one_that_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    choosers = {kind: kind for kind in ("sampler", "judge", "pool", "loss", "method", "teacher", "engine")}
    for kind, chooser in {**choosers, "text encoder": "text_encoder", "generator": "hnlmrec_generator"}.items():
        assert main(["keys", kind]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"dtlns_{chooser}: ")
        assert kind != "sampler" or ("\ndtlns_n_candidates: " in said and "\ndtlns_dns_top: " in said)


def test_train_takes_recboles_flags(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.yaml").write_text("embedding_size: 8\n")
    assert main(["train", "--model=BPR", "--config_files=my.yaml", "--dtlns_alpha_structure=0.2", *QUICK]) == 0
    folder = next(Path("saved").iterdir())
    config = (folder / "config.yaml").read_text()
    assert "dtlns_alpha_structure: 0.2" in config and "embedding_size: 8" in config
    assert set(json.loads((folder / "result.json").read_text())["test_result"]) >= {"recall@10", "ndcg@10"}


def test_prepare_ends_with_its_summary_and_trains_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert main(["prepare", "--model=BPR", *QUICK]) == 0
    for stage in ("teacher", "structure tree", "semantic tree", "verdicts", "relabelling"):
        assert f"  {stage}" in caplog.text
    assert not Path("saved").exists()
    caplog.clear()
    assert main(["prepare", "--model=NeuMF", "--dtlns_alpha_structure=0.9", *QUICK]) == 0
    assert "computed" not in caplog.text and caplog.text.count("reused") == 6


def test_audit_prints_a_table_and_writes_the_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--model=BPR", "--judges=always,rank", "--output=scores.json", *QUICK]) == 0
    assert "always" in capsys.readouterr().out
    assert json.loads(Path("scores.json").read_text())["scores"]["always"]["recall"] == 1


@pytest.mark.parametrize("leaking", [False, True])
def test_a_pipe_gets_the_test_result_and_nothing_else(leaking: bool) -> None:
    """No bar and no colour goes to the log where there is no terminal; every line of a leaking run says that it is."""
    tiny = write_splits(Path("data"), "tiny", *split_pairs(*block_pairs()))
    keys = [f"--{key}={value}" for key, value in tiny.items()]
    preset = "authors" if leaking else "off"
    command = ["train", "--model=LightGCN", "--dataset=tiny", *keys, f"--dtlns_preset={preset}", "--epochs=1"]
    done = run("run_command", *command, "--dtlns_teacher=EASE", "--metric_decimal_place=12")
    assert done.returncode == 0, done.stderr
    head, *metrics, last = done.stdout.splitlines()
    folder = next(Path("saved").iterdir())
    assert head.split() == ["metric", "valid", "test", *(["LEAKING"] if leaking else [])]
    assert last == f"run folder: {folder}"
    result = json.loads((folder / "result.json").read_text())
    assert [line.split()[0] for line in metrics] == list(result["test_result"])
    for line in metrics:
        name, valid, test, *mark = line.split()
        assert (float(valid), float(test)) == (result["best_valid_result"][name], result["test_result"][name])
        assert mark == (["LEAKING"] if leaking else [])
        assert line.index(test, line.index(valid) + len(valid)) == head.index("test"), "columns, however many digits"
    assert "\x1b" not in done.stderr and "\r" not in done.stderr and "it/s" not in done.stderr
    assert "test result" in done.stderr


def test_a_reader_that_has_read_enough_ends_a_command_without_a_traceback() -> None:
    """As `recbole-dtlns keys | head` does."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "recbole_dtlns.commands.command_line", "keys"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_command_whose_output_a_shell_closed_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    assert main(["keys"]) == 0


def test_a_working_folder_that_was_deleted_is_named() -> None:
    gone = Path("gone").absolute()
    gone.mkdir()
    code = f"import os, sys; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n"
    code += "from recbole_dtlns.commands.command_line import main\n"
    code += "sys.exit(main(['train', '--model=BPR', '--dataset=ml-100k']))"
    done = run("run_code", code)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("recbole-dtlns: the working folder cannot be used") and "cd" in done.stderr


def test_doctor_names_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "recbole        1.2.1" in printed and "no problems found" in printed
    assert re.search(r"^numpy +2\.", printed, re.MULTILINE) and re.search(r"^colorama +0\.", printed, re.MULTILINE)


def test_doctor_finds_a_package_that_is_too_old(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("numpy.__version__", "1.26.4")
    assert main(["doctor"]) == 1
    problems = capsys.readouterr().out.partition("problems:")[2]
    assert "numpy 1.26.4; 2.0 or newer is needed. Run: pip install 'numpy>=2.0'" in problems


@pytest.mark.parametrize("package", ["wandb", "texttable"])
def test_doctor_tells_a_package_that_does_not_import_from_a_missing_one(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(f"{package}.py").write_text("import numpy\nnumpy.bool8")
    monkeypatch.syspath_prepend(Path.cwd())
    monkeypatch.delitem(sys.modules, package, raising=False)
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert re.search(rf"{package} +does not import: AttributeError: .*bool8", printed)
    assert f"{package} does not import" in printed.partition("problems:")[2]


def test_doctor_finds_a_missing_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # optional: no problem
    monkeypatch.setitem(sys.modules, "texttable", None)
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "texttable missing; 1.7 or newer is needed" in printed.partition("problems:")[2]
    assert "wandb" not in printed.partition("problems:")[2]
    assert "  wandb        missing: needed for log_wandb: True; run: pip install wandb" in printed


def test_the_config_is_written_before_work_starts() -> None:
    assert main(["train", "--model=BPR", "--dataset=ml-100k", "--alias_of_user_id=['x']"]) == 2
    assert (next(Path("saved").iterdir()) / "config.yaml").exists()


LONG = ["train", "--model=BPR", "--dataset=ml-100k", "--eval_batch_size=400000", "--show_progress=False"]
LONG += ["--stopping_step=10000"]


def training(children: Children) -> Child:
    process = children.command(*LONG, "--epochs=10000", log="errors.txt")
    wait_for(lambda: list(Path("saved").glob("*/best.pth")), "a checkpoint is written", process)
    return process


def test_a_killed_run_leaves_nothing_that_disturbs_the_next(children: Children) -> None:
    """kill -9 in the middle, then the same command again."""
    killed = training(children)
    killed.kill()
    killed.wait()
    stopped = next(Path("saved").iterdir())
    assert not (stopped / "result.json").exists()
    done_epochs = max(Checkpoint.read(path).epoch for path in stopped.glob("*.pth")) + 1
    done = children.command(*LONG, f"--epochs={done_epochs + 2}", f"--resume_from={stopped}")
    assert done.wait(PATIENCE) == 0, Path("log.txt").read_text()
    assert len(list(Path("saved").glob("*/result.json"))) == 1


def test_ctrl_c_ends_with_what_to_go_on_with(children: Children) -> None:
    stopped = training(children)
    (last,) = Path("saved").iterdir()
    wait_for((last / "last.pth").exists, "the latest state is written", stopped)
    stopped.send_signal(signal.SIGINT)
    assert stopped.wait(PATIENCE) == 130
    said = Path("errors.txt").read_text()
    advice, end = said.strip().splitlines()[-2:]
    assert advice.endswith(f"stopped in training: go on with --resume_from={last}")
    assert end == "recbole-dtlns: interrupted; what was computed is kept"
    assert "Traceback" not in said
