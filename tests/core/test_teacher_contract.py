"""What a teacher of another package may give: scores and vectors that are none are refused where they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_dtlns.conformance.blocks import block_interactions
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ContractError
from recbole_dtlns.preparation.stage import Workbench
from recbole_dtlns.preparation.teaching import Teaching
from recbole_dtlns.storage.artefact_store import ArtefactStore
from recbole_dtlns.teachers.contract import Teacher

TRAIN = block_interactions()
USERS, ITEMS = TRAIN.n_users, TRAIN.n_items
VECTORS = np.ones((ITEMS, 4), np.float32)
_EVERY_ITEM_TWICE = np.tile(np.repeat(np.arange(ITEMS), 2), USERS)
_ENDS = np.arange(0, len(_EVERY_ITEM_TWICE) + 1, 2 * ITEMS)
TWICE = sp.csr_array((_EVERY_ITEM_TWICE.astype(np.float32), _EVERY_ITEM_TWICE, _ENDS), shape=(USERS, ITEMS))


class Hostile(Teacher):
    version = 1

    def __init__(self, scores: Any, vectors: Any) -> None:
        super().__init__()
        self.given, self.item_vectors = scores, vectors

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "hostile"}

    def fit(self, train: TrainInteractions) -> Any:
        return self

    def scores(self, users: np.ndarray) -> Any:
        return self.given


@pytest.mark.parametrize(
    ("scores", "vectors", "said"),
    [
        (np.ones((USERS, 2 * ITEMS)), VECTORS, "the teacher's scores are a ndarray of the shape"),
        (np.ones(USERS * ITEMS), VECTORS, "the teacher's scores are a ndarray of the shape"),
        (sp.csr_array((USERS, ITEMS + 1)), VECTORS, "the teacher's scores are a csr_array of the shape"),
        (None, VECTORS, "the teacher's scores are a NoneType"),
        (TWICE, VECTORS, "name an item twice for one user"),
        (np.ones((USERS, ITEMS)), np.ones((2 * ITEMS, 4)), "the teacher 'theirs' gave item vectors of the shape"),
        (np.ones((USERS, ITEMS)), np.ones(ITEMS), "the teacher 'theirs' gave item vectors of the shape"),
        (np.ones((USERS, ITEMS)), None, "the teacher 'theirs' gave item vectors of the shape None"),
    ],
)
def test_what_is_no_score_and_no_vector_is_refused_and_not_kept(
    scores: Any, vectors: Any, said: str, empty_folder: Path
) -> None:
    store = ArtefactStore(empty_folder / "cache")
    with pytest.raises(ContractError, match=said):
        Teaching(Hostile(scores, vectors), teacher="theirs").run(Workbench(TRAIN, store))
    assert not list(store.root.rglob("*.safetensors"))
