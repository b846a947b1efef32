"""The stage that generates hard negatives of the train pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np

from recbole_dtlns.components import ComponentConfig, Seed
from recbole_dtlns.generation.contract import GenerationTask, Generator
from recbole_dtlns.generation.table import GENERATORS
from recbole_dtlns.guidance.generated import GeneratedNegatives, noise
from recbole_dtlns.judges.contract import Label
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.preparation.pipeline import Preparation
from recbole_dtlns.preparation.stage import Stage, StoreConfig, Workbench, digest_of, text_inputs
from recbole_dtlns.storage.artefact_store import Arrays, Facts
from recbole_dtlns.text.contract import Encoder
from recbole_dtlns.text.table import ENCODERS


class Generating(Stage):
    """Makes a hard negative for every train pair, which training then only reads.

    Args:
        generator: what makes them.
        config: as for any component.
        encoder: of what items say; None where they are made in another space.
        keys: flat keys that the result may depend on.
    """

    class Config(ComponentConfig):
        """Settings of the stage."""

        prefix = "hnlmrec_"

        generator: str = "rule"
        """What makes a hard negative of every train pair: rule (the unobserved items most like user and item),
        projection (a small network that learns from what the judge calls no false negatives), llm (a language model
        describes them, or reads the pair), file (vectors from elsewhere)."""
        space: Literal["text", "teacher"] = "text"
        """What the negatives are vectors of: text (what items say; dtlns_text_fields, dtlns_text_encoder), or teacher
        (its item vectors, where items say nothing)."""
        control: Literal["none", "shuffled", "random"] = "none"
        """For comparisons: every pair gets the negative of another (shuffled; no item that its user has or that is a
        false negative), or noise (random)."""
        seed: Seed = 42

    config: Config
    name = "generated"
    version = 2

    def __init__(
        self,
        generator: Generator,
        config: Config | None = None,
        /,
        *,
        encoder: Encoder | None = None,
        keys: frozenset[str] = frozenset(),
        **fields: Any,
    ) -> None:
        super().__init__(config, **fields)
        self.generator, self.encoder, self._keys = generator, encoder, keys

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], name: str = "") -> Self:
        config = cls.Config.from_flat(flat)
        generator = GENERATORS.make(config.generator, flat)
        encoder = ENCODERS.make(flat["text_encoder"], flat) if config.space == "text" else None
        return cls(generator, config, encoder=encoder, keys=generator.keys_read(flat, config.generator))

    @property
    def reads(self) -> frozenset[str]:
        return (super().reads | self._keys) - set(StoreConfig.keys())

    def vectors(self, bench: Workbench, prepared: Preparation) -> np.ndarray:
        """Of the items in the space of the negatives, of length 1, float32 [n_items, d].

        Raises:
            ConfigError: the items have no text vectors.
        """
        return unit_rows(bench.train.text_vectors if self.config.space == "text" else prepared.item_vectors)

    def task(
        self,
        bench: Workbench,
        prepared: Preparation,
        vectors: np.ndarray,
        progress: Callable[[int], object] = lambda pairs: None,
    ) -> GenerationTask:
        """What the generator is given; arguments as for `run`."""
        candidates, judged_negative = prepared.candidates, prepared.verdicts.label == Label.NEGATIVE
        return GenerationTask(
            train=bench.train,
            vectors=vectors,
            item_vectors=prepared.item_vectors,
            false_negatives=prepared.forbidden,
            hard=(
                candidates.users[judged_negative].astype(np.int64),
                candidates.items[judged_negative].astype(np.int64),
            ),
            encoder=self.encoder,
            progress=progress,
        )

    def run(self, bench: Workbench, prepared: Preparation, vectors: np.ndarray) -> GeneratedNegatives:
        """The negatives of the train pairs, in canonical ids.

        Args:
            bench: on which the stages before left their results.
            prepared: what they found.
            vectors: of the items in the space of the negatives.
        """
        train, generator = prepared.train, self.generator
        with bench.bar(self.name, train.matrix.nnz, "pair") as advance:
            task = self.task(bench, prepared, vectors, advance)

            def compute() -> tuple[Arrays, Facts]:
                arrays, facts = generator.generate(task)
                found = generator.restored(arrays, task)
                return arrays, {"generator": self.config.generator, "pairs": train.matrix.nnz, **found.facts(), **facts}

            inputs = {
                **generator.inputs(),
                "generator_version": generator.version,
                "train": train.fingerprint,
                "vectors": digest_of(vectors),
                "false_negatives": digest_of(prepared.forbidden.users, prepared.forbidden.items),
                **({"learnt_from": digest_of(prepared.item_vectors, *task.hard)} if generator.learns else {}),
                **(self._texts(bench) if generator.encodes else {}),
            }
            kept = self.kept(bench, inputs, compute)
        return self._controlled(generator.restored(kept.arrays, replace(task, train=train)), prepared)

    def _texts(self, bench: Workbench) -> dict[str, Any]:
        """What is said of items and users, when, and how it is encoded."""
        train, encoder = bench.train, self.encoder
        users = hashlib.sha256(json.dumps(train.user_texts).encode()).hexdigest() if train.user_texts else None
        return {
            **text_inputs(train, True),
            "user_texts": users,
            "times": None if train.times is None else digest_of(train.times),
            "encoder": None if encoder is None else {"version": encoder.version, **encoder.inputs()},
        }

    def _controlled(self, generated: GeneratedNegatives, prepared: Preparation) -> GeneratedNegatives:
        if self.config.control == "shuffled":
            return generated.shuffled(self.config.seed, prepared.forbidden)
        return noise(generated, self.config.seed) if self.config.control == "random" else generated

    def sentence(self, facts: Mapping[str, Any]) -> str:
        items = f", {facts['different_items']} different items" if "different_items" in facts else ""
        asked = f"; {facts['requests']} requests, {facts['tokens']} tokens" if facts.get("requests") else ""
        learnt = f"; loss {facts['loss_first']:.3f} to {facts['loss_last']:.3f}" if "loss_first" in facts else ""
        have = f"{facts['pairs_with']} of {facts['pairs']} train pairs have one"
        return f"{facts['generator']}: {have}{items}{learnt}{asked}"
