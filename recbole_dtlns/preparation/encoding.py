"""The stage that makes vectors of what items say, when something first looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.item_content import ItemContent, ItemFields
from recbole_dtlns.preparation.stage import Stage, Workbench
from recbole_dtlns.storage.artefact_store import Arrays, Facts
from recbole_dtlns.text.contract import Encoder, TextwiseEncoder, check_vectors, distinct
from recbole_dtlns.text.kept_vectors import FOLDER, encoded
from recbole_dtlns.text.table import ENCODERS


class Encoding(Stage):
    """Encodes the texts of the train items.

    The vectors depend on texts alone, so a rehearsal has the same. They are made when a teacher, judge or tree first
    looks at them: a run in which none does makes none.

    Args:
        encoder: what makes them.
        config: as for any component.
    """

    class Config(ComponentConfig):
        """Settings of the stage."""

        prefix = ""

        text_encoder: str = "tfidf"
        """What makes vectors of texts: tfidf (with a truncated SVD: no model), transformers or vllm (a model in
        this process), openai (any server that takes OpenAI's requests; texts go there), file (vectors by item id)."""

    config: Config
    name = "text"
    version = 1

    def __init__(self, encoder: Encoder, config: Config | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.encoder = encoder

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], name: str = "") -> Self:
        config = cls.Config.from_flat(flat)
        return cls(ENCODERS.make(config.text_encoder, flat), config)

    @property
    def reads(self) -> frozenset[str]:
        encoder = type(self.encoder).Config.keys(self.config.text_encoder)
        return super().reads | set(encoder) | set(ItemFields.keys())

    def recipe(self) -> dict[str, Any]:
        """What determines the vectors beside the texts."""
        return {"encoder_version": self.encoder.version, **self.encoder.inputs()}

    def run(self, bench: Workbench) -> Workbench:
        """A bench whose items have vectors, once these are looked at."""
        content = bench.train.content
        if content is None and self.encoder.reads_texts:
            return bench
        content = content or ItemContent.silent(bench.train.n_items)
        told = replace(content, encode=lambda: self._vectors(bench))
        return replace(bench, train=replace(bench.train, content=told))

    def _vectors(self, bench: Workbench) -> np.ndarray:
        train = bench.train

        def compute() -> tuple[Arrays, Facts]:
            vectors = check_vectors(self._made(bench), train.n_items, self.config.text_encoder)
            facts = {
                "encoder": self.config.text_encoder,
                "dimensions": vectors.shape[1],
                "items": train.n_items,
                "without": int((~vectors.any(axis=1)).sum()),
            }
            return {"vectors": vectors}, facts

        texts = train.content.digest if train.content is not None else ""
        inputs = {**self.recipe(), "texts": texts}
        if not self.encoder.reads_texts:
            inputs["train"] = train.fingerprint  # such vectors are found by the items' ids
        return self.kept(bench, inputs, compute).arrays["vectors"]

    def _made(self, bench: Workbench) -> np.ndarray:
        content, store = bench.train.content, bench.store
        if not isinstance(self.encoder, TextwiseEncoder) or content is None:
            return self.encoder.encode(bench.train)
        with bench.bar(self.name, len(distinct(content.texts)), "text") as advance:
            return encoded(self.encoder, content.texts, store.root / FOLDER, store.refuse_damaged, advance)

    def sentence(self, facts: Mapping[str, Any]) -> str:
        without = f"; {facts['without']} have none" if facts["without"] else ""
        return f"{facts['encoder']}: {facts['dimensions']} dimensions of {facts['items']} items{without}"
