"""The stages that make the item trees: grown from vectors, or read from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from recbole_dtlns.components import ComponentConfig, InputFile, Seed, SharedKey
from recbole_dtlns.data.co_occurrence import MAX_HISTORY
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.judges.contract import TEXT_VIEW, Question
from recbole_dtlns.judges.controls import with_random_paths, with_shuffled_paths
from recbole_dtlns.preparation.stage import Stage, Workbench, digest_of, file_digest, order_inputs
from recbole_dtlns.storage.artefact_store import Arrays, Facts
from recbole_dtlns.trees import build, structure
from recbole_dtlns.trees.build import TreeShape, build_tree, describe
from recbole_dtlns.trees.item_tree import ItemTree


class StructureVectors(Stage):
    """Makes the vectors of the structure tree: where items lie in the graph of items that share users."""

    class Config(ComponentConfig):
        """Settings of the item graph and its eigenvectors."""

        prefix = "structure_"

        graph: structure.Graph = "users"
        """What joins items in the graph that the structure tree is built from: users (who have both), transitions (how
        often, and how near, one follows the other; needs times in the data)."""
        dim: int = Field(32, ge=1, le=4096)
        """Eigenvectors of the item graph that the structure tree is built from."""
        neighbours: Annotated[int, SharedKey("graph_neighbours")] = Field(structure.NEIGHBOURS, ge=1)
        """Strongest edges that every item keeps in the item graph."""
        max_history: Annotated[int, SharedKey("graph_max_history")] = Field(MAX_HISTORY, ge=2)
        """Items of a user that count in the item graph; of longer histories, this many at random."""

    config: Config
    name = "structure"
    version = structure.VERSION

    def recipe(self) -> dict[str, Any]:
        """What determines the result beside the train pairs."""
        graph = {} if self.config.graph == "users" else {"graph": self.config.graph}
        return {"dimensions": self.config.dim, **self._bounds, **graph}

    @property
    def reads_order(self) -> bool:
        """Whether the result depends on the order of histories."""
        return self.config.graph == "transitions"

    def run(self, bench: Workbench) -> np.ndarray:
        """Vectors, float32 [n_items, dim]."""

        def compute() -> tuple[Arrays, Facts]:
            vectors = structure.structure_vectors(bench.train, self.config.dim, **self._bounds, graph=self.config.graph)
            alone = int((vectors == 0).all(axis=1).sum())
            return {"vectors": vectors}, {"dimensions": self.config.dim, "items_alone": alone}

        seen = order_inputs(bench.train, self.reads_order)
        return self.kept(bench, {"train": bench.train.fingerprint, **self.recipe(), **seen}, compute).arrays["vectors"]

    def sentence(self, facts: Mapping[str, Any]) -> str:
        return f"{facts['dimensions']} dimensions; {facts['items_alone']} items share no user with another"

    @property
    def _bounds(self) -> dict[str, int]:
        return {"neighbours": self.config.neighbours, "max_history": self.config.max_history}


class GrownTree(Stage):
    """Grows one item tree from vectors.

    Attributes:
        view: name of the tree.
    """

    Config: ClassVar[type[TreeShape]] = TreeShape
    config: TreeShape
    view: str
    version = build.VERSION

    def shape(self) -> dict[str, Any]:
        """The settings by which it is grown."""
        return {name: getattr(self.config, name) for name in TreeShape.model_fields}

    def sentence(self, facts: Mapping[str, Any]) -> str:
        return _tree_in_words(facts)

    def grow(self, bench: Workbench, vectors: np.ndarray) -> ItemTree:
        """The tree of the train items.

        Args:
            bench: the workbench.
            vectors: to grow it from, float32 [n_items, d].
        """

        def compute() -> tuple[Arrays, Facts]:
            with bench.bar(self.name, len(vectors), "item") as advance:
                tree, facts = build_tree(vectors, self.config, advance)
            return {"digits": tree.digits}, facts

        inputs = {"vectors": digest_of(vectors), **self.shape()}
        return ItemTree(self.kept(bench, inputs, compute).arrays["digits"])


class TreeStage(GrownTree):
    """Makes one item tree: grown, or given.

    Attributes:
        view: name of the tree.
    """

    class Config(TreeShape):
        """Settings of an item tree; what a file holds has its shape already."""

        paths: str | None = None
        """Read the tree from a file (item_id<TAB>path) instead of building it."""
        know_train: Annotated[bool, SharedKey("paths_know_train")] = True
        """The paths in these files, and codes, may have been made from the train pairs, so audit and calibrated, which
        hide some of them, make trees of their own, and leave codes out. False: they were made of something else
        (titles, categories), and are read there too."""

        @model_validator(mode="after")
        def _leaves_can_be_parted(self) -> Self:
            if self.leaf_size < self.branching:
                raise ConfigError(
                    f"dtlns_tree_leaf_size ({self.leaf_size}) must be at least "
                    f"dtlns_tree_branching ({self.branching}), or a node could have fewer items than children"
                )
            return self

    config: Config

    @property
    def knows_train(self) -> bool:
        """Whether the tree is given and may know every train pair."""
        return bool(self.config.paths) and self.config.know_train

    def anew(self) -> Self:
        """The stage as it is where train pairs are hidden: a given tree that may know them is grown instead."""
        return type(self)(self.config.model_copy(update={"paths": None})) if self.knows_train else self

    @property
    def version(self) -> int:  # type: ignore[override]
        return 1 if self.config.paths else build.VERSION

    def run(self, bench: Workbench, make_vectors: Callable[[], np.ndarray]) -> ItemTree:
        """The tree of the train items.

        Args:
            bench: the workbench.
            make_vectors: gives the vectors to grow it from, float32 [n_items, d], where no file is named.
        """
        return self._read(bench, self.config.paths) if self.config.paths else self.grow(bench, make_vectors())

    def _read(self, bench: Workbench, file: str) -> ItemTree:
        tokens = bench.train.item_tokens.tolist()

        def compute() -> tuple[Arrays, Facts]:
            tree, unknown = ItemTree.from_file(file, tokens)
            if tree.n_leaves == 0:
                raise DataError(
                    f"{file} holds no path for any of the {len(tokens)} train items; are its ids those of the data set?"
                )
            return {"digits": tree.digits}, {**describe(tree), "lines_of_unknown_items": unknown}

        inputs = {"file": file_digest(file, "tree paths"), "train": bench.train.fingerprint}
        return ItemTree(self.kept(bench, inputs, compute).arrays["digits"])


class StructureTree(TreeStage):
    """The tree in which items that the same users have lie together."""

    class Config(TreeStage.Config):
        """Settings of the structure tree."""

        paths: Annotated[str | None, SharedKey("structure_paths"), InputFile("tree paths")] = None
        """Read the structure tree from a file (item_id<TAB>path) instead of building it."""

    config: Config
    name = "structure tree"
    view = "structure"


class SemanticTree(TreeStage):
    """The tree in which items that the teacher sees as alike lie together."""

    class Config(TreeStage.Config):
        """Settings of the semantic tree."""

        paths: Annotated[str | None, SharedKey("semantic_paths"), InputFile("tree paths")] = None
        """Read the semantic tree from a file (item_id<TAB>path) instead of building it."""

    config: Config
    name = "semantic tree"
    view = "semantic"


class TextTree(GrownTree):
    """The tree in which items that say alike lie together, where it is asked for."""

    class Config(TreeShape):
        """Settings of the text tree."""

        wanted: Annotated[bool, SharedKey("text_tree")] = False
        """Grow a third item tree, `text`, from the text vectors (dtlns_text_fields): for judges that look at trees, and
        for dtlns_alpha_text."""

    config: Config
    name = "text tree"
    view = TEXT_VIEW

    def run(self, bench: Workbench) -> dict[str, ItemTree]:
        """The tree by its name; nothing where it is not asked for.

        Raises:
            ConfigError: the items have no text vectors.
        """
        return {self.view: self.grow(bench, bench.train.text_vectors)} if self.config.wanted else {}


class CodeTree(Stage):
    """Reads a tree off the codes that the .item file has, where a field is named."""

    class Config(ComponentConfig):
        """Settings of the tree of codes."""

        field: Annotated[str | None, SharedKey("code_field")] = None
        """Field of the .item file that holds a path in a tree, such as 183-70-232-6: the item tree `codes` beside the
        others."""
        know_train: Annotated[bool, SharedKey("paths_know_train")] = True
        """The paths in these files, and codes, may have been made from the train pairs, so audit and calibrated, which
        hide some of them, make trees of their own, and leave codes out. False: they were made of something else
        (titles, categories), and are read there too."""

    config: Config
    name = "code tree"
    view = "codes"
    version = 1

    @property
    def knows_train(self) -> bool:
        """Whether there is such a tree, and it may know every train pair."""
        return self.config.field is not None and self.config.know_train

    def anew(self) -> Self:
        """The stage as it is where train pairs are hidden: codes that may know them are left out."""
        return type(self)(self.config.model_copy(update={"field": None})) if self.knows_train else self

    def run(self, bench: Workbench) -> dict[str, ItemTree]:
        """The tree by its name; nothing where no field is named.

        Raises:
            ConfigError: the items' codes were not read.
            DataError: no item has one.
        """
        if self.config.field is None:
            return {}
        content = bench.train.content
        if content is None or (codes := content.codes) is None:
            raise ConfigError(f"dtlns_code_field: {self.config.field} needs items whose fields were read")

        def compute() -> tuple[Arrays, Facts]:
            tree = ItemTree.from_paths(codes)
            if tree.n_leaves == 0:
                raise DataError(f"the field {self.config.field} (dtlns_code_field) is empty for all train items")
            return {"digits": tree.digits}, describe(tree)

        return {self.view: ItemTree(self.kept(bench, {"codes": content.code_digest}, compute).arrays["digits"])}

    def sentence(self, facts: Mapping[str, Any]) -> str:
        return _tree_in_words(facts)


class TreeControl(Stage):
    """Puts other paths in place of the trees', where an experiment asks for it; nothing of it is kept."""

    class Config(ComponentConfig):
        """Settings of the control."""

        control: Annotated[Literal["none", "shuffled", "random"], SharedKey("tree_control")] = "none"
        """For experiments: shuffled deals the paths to the items at random, random draws a leaf for each; for judge and
        training."""
        seed: Seed = 42

    config: Config
    name = "tree control"
    version = 1

    def run(self, question: Question) -> Question:
        """The question on the paths that the control leaves."""
        if self.config.control == "none":
            return question
        change = {"shuffled": with_shuffled_paths, "random": with_random_paths}[self.config.control]
        return change(question, self.config.seed)


def _tree_in_words(facts: Mapping[str, Any]) -> str:
    parts = [
        f"{facts['leaves']} leaves of {facts['min_leaf_size']} to {facts['max_leaf_size']} items "
        f"(mean {facts['mean_leaf_size']}), depth {facts['min_depth']} to {facts['max_depth']}"
    ]
    if "moved_share" in facts:
        parts.append(f"balancing moved {facts['moved_share']:.1%} of the items per level")
    if facts.get("equal_nodes"):
        parts.append(f"{facts['equal_nodes']} nodes held only equal vectors")
    if facts["without_path"]:
        parts.append(f"{facts['without_path']} items have no path")
    if facts.get("lines_of_unknown_items"):
        parts.append(f"{facts['lines_of_unknown_items']} lines of the file name items that are not in train")
    return "; ".join(parts)
