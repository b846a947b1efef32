"""Models are made by the tests; none is looked for on a hub. Requests under way end with the test that sent them."""

import os
from collections.abc import Iterator

import pytest

from recbole_dtlns.conformance.faulty_server import end_of_requests

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def no_request_outlives_its_test(nothing_left_open: None) -> Iterator[None]:
    yield
    end_of_requests()
