"""A preparation on a real Ray cluster: this process's results to the last bit, whoever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from prepared_in_blocks import RUNS, cut_small, digests
from processes import Child, Children, wait_for

from recbole_dtlns.blocks.on_ray import RayTasks
from recbole_dtlns.blocks.shared_out import SharedOut
from recbole_dtlns.blocks.work import over_blocks, working_with
from recbole_dtlns.errors import DataError, EngineError, ProcessError
from recbole_dtlns.storage.parts import parts_at_hand

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings are not ours

BLOCKS = [slice(first, first + 2) for first in range(0, 12, 2)]
NUMBERS = np.arange(12)
ROUNDS = int(os.environ.get("ROUNDS_OF_DEATHS", "4"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one worker each; this process is connected."""
    ray = pytest.importorskip("ray", reason="Ray is not installed; make test-cluster installs it")
    from ray.cluster_utils import Cluster

    before = os.environ.copy()
    here = Path(__file__).parent
    found = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    os.environ |= {"PYTHONPATH": os.pathsep.join(found), "RAY_USAGE_STATS_ENABLED": "0"}
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()
    os.environ.clear()
    os.environ.update(before)


def on_ray(blocks_per_task: int = 1) -> SharedOut:
    import ray

    return SharedOut(RayTasks(ray), blocks_per_task)


def doubled(shared: tuple[np.ndarray, Path], block: slice) -> dict[str, np.ndarray]:
    """Notes that it was begun; the first to reach the third block kills its worker."""
    numbers, folder = shared
    (folder / f"begun {block.start} {os.getpid()}").touch()
    killed = folder / "killed"
    if block.start == 4 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"doubled": 2 * numbers[block]}


def dies(shared: np.ndarray, block: slice) -> dict[str, np.ndarray]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def refuses(shared: np.ndarray, block: slice) -> dict[str, np.ndarray]:
    raise DataError(f"{shared[block][0]} is not for us")


@pytest.mark.parametrize("name", RUNS)
def test_two_workers_make_what_this_process_makes(
    name: str, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = digests(name, tmp_path / "here")
    cut_small(monkeypatch)
    there = digests(name, tmp_path / "there", prepare_on="ray", judge_ray_address=cluster.address)
    assert there == here
    assert not list(tmp_path.rglob("*.parts"))


def test_what_dies_with_a_worker_is_done_by_another(cluster: Any, tmp_path: Path) -> None:
    with working_with(on_ray()):
        found = over_blocks(doubled, (NUMBERS, tmp_path), BLOCKS, "doubled")
    assert (tmp_path / "killed").exists()
    assert np.array_equal(found["doubled"], 2 * NUMBERS)
    begun = [path.name.split()[1] for path in tmp_path.glob("begun *")]
    assert {int(block): begun.count(block) for block in set(begun)} == {0: 1, 2: 1, 4: 2, 6: 1, 8: 1, 10: 1}


def test_workers_that_die_again_and_again_are_not_waited_for(cluster: Any) -> None:
    with working_with(on_ray(6)), pytest.raises(ProcessError, match=r"4 workers .* blocks 0 to 5 of 'dying'"):
        over_blocks(dies, NUMBERS, BLOCKS, "dying")


def test_what_a_block_says_is_said_by_the_driver(cluster: Any) -> None:
    with working_with(on_ray(6)), pytest.raises(DataError, match=r"^0 is not for us$"):
        over_blocks(refuses, NUMBERS, BLOCKS, "refusing")


def test_a_cluster_that_is_not_there_is_named_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot reach the Ray cluster 127\.0\.0\.1:9: .*ray start"):
        digests("learnt", tmp_path, prepare_on="ray", judge_ray_address="127.0.0.1:9")
    assert not list(tmp_path.iterdir())


DRIVER = """
import json
import sys
from pathlib import Path

import pytest
from prepared_in_blocks import cut_small, digests

with pytest.MonkeyPatch.context() as patch:
    cut_small(patch)
    patch.setattr("recbole_dtlns.teachers.restricted_ridge._ITEMS_AT_ONCE", 2)
    print(json.dumps(digests("learnt", Path(sys.argv[1]), prepare_on="ray", judge_ray_address=sys.argv[2])))
"""


class Undisturbed(NamedTuple):
    """A run of `DRIVER` in which nothing dies."""

    digests: dict[str, str]
    seconds: float


def test_a_killed_driver_goes_on_where_it_was(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Children
) -> None:
    """Killed when some shards of the weights are there; the next one does the others alone."""
    cache = tmp_path / "killed"
    driver = children.code(DRIVER, cache, cluster.address)
    wait_for(lambda: len(weights_in(cache)) >= 2, "shards are written", driver)
    driver.kill()
    driver.wait()
    kept = weights_in(cache)
    (folder,) = {path.parent for path in kept}
    done = {number for path in kept for number in blocks_of(path)}
    begun: set[int] = set()

    def noting(tasks: RayTasks, function: Any, shared: Any, given: Any, work: str) -> Any:
        parts = parts_at_hand()
        if work == "weights" and parts is not None and parts.folder == folder:
            begun.update(number for part in given for number in part)
        return carry_out(tasks, function, shared, given, work)

    carry_out = RayTasks.__call__
    cut_small(monkeypatch)
    monkeypatch.setattr("recbole_dtlns.teachers.restricted_ridge._ITEMS_AT_ONCE", 2)
    monkeypatch.setattr(RayTasks, "__call__", noting)
    again = digests("learnt", cache, prepare_on="ray", judge_ray_address=cluster.address)
    assert done
    assert begun == set(range(48)) - done
    assert again == digests("learnt", tmp_path / "here")
    assert not list(tmp_path.rglob("*.parts"))


@pytest.fixture(scope="module")
def undisturbed(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    started = time.monotonic()
    process = Child("run_code", DRIVER, tmp_path_factory.mktemp("undisturbed"), cluster.address)
    said, errors = process.communicate()
    assert process.wait() == 0, errors
    process.close()
    return Undisturbed(json.loads(said), time.monotonic() - started)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_nodes_and_drivers_that_die_at_any_moment_change_nothing(
    seed: int, cluster: Any, undisturbed: Undisturbed, tmp_path: Path, children: Children
) -> None:
    """Blocks of a lost node are done by another while the driver goes on; after a killed driver, another goes on."""
    random = np.random.default_rng(seed)
    driver = children.code(DRIVER, tmp_path, cluster.address)
    for dying in random.permutation(["node", "driver", "driver"]):
        end_or_moment = time.monotonic() + random.uniform(0, undisturbed.seconds)
        while driver.poll() is None and time.monotonic() < end_or_moment:
            time.sleep(0.01)
        if dying == "node":
            (node,) = cluster.worker_nodes
            cluster.remove_node(node, allow_graceful=False)
            cluster.add_node(num_cpus=1)
        else:
            driver.kill()
            driver.wait()
            driver = children.code(DRIVER, tmp_path, cluster.address)
    said, errors = driver.communicate()
    assert driver.wait() == 0, errors
    assert json.loads(said) == undisturbed.digests
    assert not list(tmp_path.rglob("*.parts"))


def weights_in(cache: Path) -> list[Path]:
    return list(cache.glob("teacher/*.parts/*-weights.*.safetensors"))


def blocks_of(shard: Path) -> range:
    first, end = shard.name.split(".")[1].split("-")
    return range(int(first), int(end))
