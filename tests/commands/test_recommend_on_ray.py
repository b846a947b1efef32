"""recommend --on=ray: the workers of a cluster write what one process writes, and a killed call goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recbole_dtlns.blocks.on_ray import RayTasks
from recbole_dtlns.commands.command_line import main
from recbole_dtlns.serving import recommendation_file

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own warnings are not ours

USERS_PER_SHARD = 7


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two workers; nobody is connected."""
    ray = pytest.importorskip("ray", reason="Ray is not installed; make test-cluster installs it")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        yield nodes.address
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("write", "write_as_they_come"):
        function = getattr(recommendation_file.RecommendationFile, method)
        monkeypatch.setattr(function, "__defaults__", (USERS_PER_SHARD,))


@pytest.mark.cluster
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_workers_write_what_one_process_writes(trained: Path, address: str, suffix: str) -> None:
    assert main(["recommend", str(trained), "--k=4", f"--output=here.{suffix}"]) == 0
    assert main(["recommend", str(trained), "--k=4", f"--output=ray.{suffix}", "--on=ray", f"--address={address}"]) == 0
    assert Path(f"ray.{suffix}").read_bytes() == Path(f"here.{suffix}").read_bytes()
    assert sorted(path.name for path in Path().iterdir()) == [f"here.{suffix}", f"ray.{suffix}"]


@pytest.mark.cluster
def test_a_call_that_was_stopped_goes_on(trained: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out, asked = RayTasks.__call__, []

    def stopped(tasks: RayTasks, *given: Any) -> Iterator[Any]:
        asked.append(len(given[2]))
        for number, found in enumerate(carry_out(tasks, *given)):
            if len(asked) == 1 and number == 2:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(RayTasks, "__call__", stopped)
    command = ["recommend", str(trained), "--k=4", "--output=ray.tsv", "--on=ray", f"--address={address}"]
    assert main(command) != 0
    assert main(command) == 0
    assert asked == [asked[0], asked[0] - 2]
    assert main(["recommend", str(trained), "--k=4", "--output=here.tsv"]) == 0
    assert Path("ray.tsv").read_bytes() == Path("here.tsv").read_bytes()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--on=ray", "--address=127.0.0.1:9"], "cannot reach the Ray cluster 127.0.0.1:9"),
        (["--address=127.0.0.1:9"], "add --on=ray"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", "nowhere", "--output=recs.tsv", *options]) != 0
    assert said in capsys.readouterr().err
    assert not list(Path().iterdir())
