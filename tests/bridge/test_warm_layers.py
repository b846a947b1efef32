"""What a warm start gives layers and tables that are about no tokens, also where their sizes say otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ordered import N_ITEMS, SEQUENCES, walks, write_walks
from rated import RATED, write_rated
from tiny_runs import PLAIN, Run, train

from recbole_dtlns.errors import ConfigError


def in_another_order(keys: dict[str, Any], dataset: str) -> dict[str, Any]:
    """The same data, whose tokens have other ids."""
    for path in (Path(keys["data_path"]) / dataset).iterdir():
        head, *lines = path.read_text().splitlines()
        path.write_text("\n".join([head, *lines[::-1], ""]))
    return keys


def parameters(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in run.trainer.model.named_parameters()}


def test_positions_and_layers_are_copied_where_there_are_as_many_tokens() -> None:
    chance = {**PLAIN, "MAX_ITEM_LIST_LENGTH": N_ITEMS + 1, "inner_size": len(walks()) + 1}  # with the padding
    then = train("SASRec", {**write_walks("then"), **chance}, dataset=SEQUENCES)
    keys = in_another_order(write_walks("now"), SEQUENCES)
    now = train("SASRec", {**keys, **chance}, dataset=SEQUENCES, epochs=0, init_from=str(then.folder))
    before, begun = parameters(then), parameters(now)
    assert not torch.equal(before.pop("item_embedding.weight"), begun["item_embedding.weight"])
    assert [name for name, value in before.items() if not torch.equal(value, begun[name])] == []


@pytest.mark.parametrize("model", ["DeepFM", "NFM"])
def test_a_model_begins_as_it_was_where_there_are_as_many_values_of_a_feature(model: str) -> None:
    """NFM normalises by means that it has seen, which are no parameters."""
    chance = {**PLAIN, "mlp_hidden_size": [16, 4]}  # three towns, and the padding
    then = train(model, {**write_rated("then"), **chance}, dataset=RATED, learning_rate=0.01)
    keys = in_another_order(write_rated("now"), RATED)
    now = train(model, {**keys, **chance}, dataset=RATED, epochs=0, init_from=str(then.folder))
    assert then.train.field2token_id["town"] != now.train.field2token_id["town"]
    assert now.result["test_result"] == pytest.approx(then.result["test_result"], abs=1e-4)


def with_two(columns: list[str], folder: str, place: dict[str, int]) -> dict[str, Any]:
    """Ratings whose items have one more number and one more sequence, at these places of the file."""
    keys = write_rated(folder)
    path = Path(folder) / RATED / f"{RATED}.item"
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row.insert(place["weight"], f"{number % 3}.25" if number else "weight:float")
        row.insert(place["tags"], f"tag-{number % 5}" if number else "tags:token_seq")
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    loaded = {**keys["load_col"], "item": ["item_id", "class", "year", "price", "weight", "tags"]}
    return {**keys, **PLAIN, "load_col": loaded, "numerical_features": columns}


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ({"weight": 3, "tags": 5}, "price, weight, and this run's reads weight, price"),
        ({"weight": 4, "tags": 1}, "class, tags, and this run's reads tags, class"),
    ],
)
def test_numbers_and_sequences_in_another_order_are_refused(place: dict[str, int], named: str) -> None:
    both = ["price", "weight"]
    then = train("FM", with_two(both, "then", {"weight": 4, "tags": 5}), dataset=RATED)
    with pytest.raises(ConfigError, match=f"has read the columns {named}"):
        train("FM", with_two(both, "now", place), dataset=RATED, init_from=str(then.folder))


def test_another_number_is_refused() -> None:
    as_it_was = {"weight": 4, "tags": 5}
    then = train("FM", with_two(["price"], "then", as_it_was), dataset=RATED)
    with pytest.raises(ConfigError, match="has read the columns none, and this run's reads weight:"):
        train("FM", with_two(["weight"], "now", as_it_was), dataset=RATED, init_from=str(then.folder))
