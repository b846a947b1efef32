"""RecBole's data sets with a graph of facts about the items, under pandas 3, and what files must hold for them."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

from recbole.data.dataset import KnowledgeBasedDataset

from recbole_dtlns.bridge.data.dataset import DTLNSDataset
from recbole_dtlns.bridge.data.file_columns import FileColumns
from recbole_dtlns.errors import DataError

logger = logging.getLogger("recbole_dtlns")

Links = dict[str, str]
_ENTITIES = ("HEAD_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "TAIL_ENTITY_ID_FIELD")  # keys that name the columns of .kg
_LINK = ("ITEM_ID_FIELD", "ENTITY_ID_FIELD")  # and of .link
_FILES = {"kg": _ENTITIES, "link": _LINK}


class DTLNSKnowledgeDataset(DTLNSDataset, KnowledgeBasedDataset):
    """RecBole's data set with a graph of facts (`.kg`) and the items' entities in it (`.link`).

    Ids are RecBole's: an item that `.link` joins to an entity shares its id, and items come before other entities. It
    leaves out the interactions of items without an entity; how many these are is logged.
    """

    item2entity: Links
    entity2item: Links

    def _load_link(self, token: str, dataset_path: str) -> tuple[Links, Links]:
        links: tuple[Links, Links] = super()._load_link(token, dataset_path)
        entity_of, item_of = links
        for pairs, other, one, many in (
            (entity_of, item_of, "entity", "items"),
            (item_of, entity_of, "item", "entities"),
        ):
            for key, value in pairs.items():
                if other[value] != key:
                    raise DataError(
                        f"{Path(dataset_path) / token}.link joins two {many}, {key} and {other[value]}, to one {one}, "
                        f"{value}: RecBole gives both one id, so keep one of the rows"
                    )
        return links

    def _filter_link(self) -> None:
        items, entities, rows = len(self.item2entity), len(self.entity2item), len(self.inter_feat)
        first = self.inter_feat[self.iid_field].iloc[0] if rows else ""
        super()._filter_link()
        if rows and not self.item2entity:
            raise DataError(
                f"none of {items} items in {self.dataset_name}.link has interactions, or none of their {entities} "
                f"entities has facts in {self.dataset_name}.kg (the first item with interactions: {first}): are the "
                "tokens written alike?"
            )
        if left_out := rows - len(self.inter_feat):
            logger.info(
                "%d of %d interactions are of items that %s.link joins to no entity of %s.kg: as RecBole has it, they "
                "are left out",
                left_out,
                rows,
                self.dataset_name,
                self.dataset_name,
            )

    def _remap_ID_all(self) -> None:
        if self.benchmark_filename_list is not None:  # files that are split in advance are not filtered
            self._keep_links_of_both()
        super()._remap_ID_all()

    def _keep_links_of_both(self) -> None:
        """Only links between an item and an entity that both occur: RecBole's numbering counts on it."""
        items, entities = self._get_rec_item_token(), self._get_entity_token()
        kept = {item: entity for item, entity in self.item2entity.items() if item in items and entity in entities}
        self.item2entity, self.entity2item = kept, {entity: item for item, entity in kept.items()}

    def ckg_graph(self, form: str = "coo", value_field: str | None = None) -> Any:
        """As RecBole's; without the package dgl, the graph that KGAT asks for is the sparse matrix that it reads."""
        if form == "dgl" and importlib.util.find_spec("dgl") is None:
            form = "coo"
        return super().ckg_graph(form, value_field)


def check_knowledge_files(config: Any) -> None:
    """Refuse a data set without facts about its items, before any work.

    A data set that RecBole would download passes.

    Raises:
        DataError: the message names the files and fields that are missing, and those that are there.
    """
    folder, name, model = Path(config["data_path"]), config["dataset"], config["model"]
    if not config.kind.reads_facts or not folder.is_dir():
        return
    found = {suffix: columns for suffix in _FILES if (columns := FileColumns.of(config, suffix)) is not None}
    if missing := [f"{name}.{suffix}" for suffix in _FILES if suffix not in found]:
        others = ", ".join(sorted(file.name for file in folder.iterdir() if file.is_file()))
        raise DataError(
            f"{model} learns from facts about items, and {folder} has no {' and no '.join(missing)}; it has {others}. "
            f"Facts are {name}.kg ({_columns(config, _ENTITIES)}), and {name}.link joins items to their entities "
            f"({_columns(config, _LINK)}): add them, or use a general recommender"
        )
    for suffix, columns in found.items():
        _check_fields(config, columns, suffix, _FILES[suffix])


def _check_fields(config: Any, found: FileColumns, suffix: str, keys: tuple[str, ...]) -> None:
    header = found.header
    for key in keys:
        field = config[key]
        if header.get(field) != "token":
            wrong = f"{field} is of the type {header[field]}" if field in header else f"has no field {field}"
            raise DataError(
                f"{config['model']} reads {_columns(config, keys)} of {found.file}: {wrong}; it has {found}. Set "
                f"{key} to the field that is meant"
            )
        if field not in found.loaded:
            loaded = ", ".join(config[one] for one in keys)
            raise DataError(
                f"{config['model']} reads {field}, which {found.file} has and load_col, unload_col or unused_col "
                f"leaves out: let load_col hold {suffix}: [{loaded}]"
            )


def _columns(config: Any, keys: tuple[str, ...]) -> str:
    return ", ".join(f"{config[key]}:token" for key in keys)
