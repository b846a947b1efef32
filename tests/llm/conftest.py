"""Models are made by the tests. Requests under way end with the test that sent them."""

import gc
import os
import warnings
from collections.abc import Iterator

import pytest

from recbole_dtlns.conformance.faulty_server import end_of_requests


@pytest.fixture(autouse=True)
def no_request_outlives_its_test(nothing_left_open: None) -> Iterator[None]:
    yield
    end_of_requests()


@pytest.fixture(scope="module")
def needs_vllm() -> Iterator[None]:
    pytest.importorskip("vllm", reason="vLLM is not installed; make test-vllm installs it in .venv-llm")
    before = os.environ.copy()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    yield
    os.environ.clear()
    os.environ.update(before)
    # vLLM leaves its sockets to the collector, which may come last of all and then warns.
    with warnings.catch_warnings(action="ignore"):
        gc.collect()
