"""Fine-tuning a causal model on the train pairs of a run, for the generator `llm` in the form `vector`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.runner import train_split
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.generation.adapter_files import write_adapter
from recbole_dtlns.generation.contract import GenerationTask
from recbole_dtlns.generation.finetuning import FineTuning, Rows
from recbole_dtlns.generation.hard_items import LearningConfig, hard_items
from recbole_dtlns.generation.language_model.generator import LLMGenerator, Work
from recbole_dtlns.generation.language_model.profiles import Profiles
from recbole_dtlns.judges.contract import Label
from recbole_dtlns.llm.asking import TextAsker
from recbole_dtlns.llm.chat_model import local_model
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.preparation import Preparation, prepare_on, workbench
from recbole_dtlns.preparation.stage import Workbench
from recbole_dtlns.text.adapter_record import AdapterRecord
from recbole_dtlns.text.local_network import LocalNetwork, Pooling, adapter_base, network_revision
from recbole_dtlns.text.model_config import counter_of, load_tokenizer

logger = logging.getLogger("recbole_dtlns")

_MEASURED = 500


@dataclass(frozen=True)
class FineTuned:
    """An adapter that was trained.

    Attributes:
        folder: of it.
        pairs: train pairs that have a hard negative, of so many.
        losses: of every step.
    """

    folder: Path
    pairs: tuple[int, int]
    losses: list[float]

    def text(self) -> str:
        """For the terminal."""
        tenth = max(1, len(self.losses) // 10)
        first, last = (float(np.mean(part)) for part in (self.losses[:tenth], self.losses[-tenth:]))
        return (
            f"adapter in {self.folder}: {len(self.losses)} steps over {self.pairs[0]} of {self.pairs[1]} train pairs; "
            f"loss {first:.3f} to {last:.3f}. Use it with --dtlns_text_encoder=transformers --dtlns_text_model="
            f"{self.folder} --dtlns_hnlmrec_generator=llm --dtlns_hnlmrec_llm_form=vector"
        )


@dataclass(frozen=True)
class FineTuningCost:
    """What fine-tuning would cost.

    Attributes:
        pairs: train pairs, of which those without a hard negative are left out.
        steps: at most.
        tokens: of the queries of an epoch, measured on some of them.
        example: one query.
    """

    pairs: int
    steps: int
    tokens: int
    example: str

    def text(self) -> str:
        """For the terminal."""
        return (
            f"{self.pairs} train pairs, at most {self.steps} steps; about {self.tokens} tokens of queries an epoch, "
            f"and the texts of two items for each\n\nexample:\n{self.example}"
        )


@quiet_recbole()
def finetune(
    base: str,
    output: str | Path,
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
) -> FineTuned:
    """Train an adapter, or go on with one that was stopped.

    Args:
        base: folder or name of the model.
        output: folder of the adapter.
        model, dataset, config_file_list, config_dict, arguments: as for `run_recbole_dtlns`.

    Raises:
        ConfigError: a setting that cannot work; items say nothing.
        DTLNSError: as the stages of the preparation, `FineTuning.train` and `LocalNetwork.load` raise it.
    """
    config = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    flat, folder, name = config.settings.flat, Path(output), _whole_model(base)
    tuning, generator, pooling = _parts(flat)
    bench, done = _prepared(config)
    work, prompt = generator.work(bench.train), str(flat["text_prompt"])
    queries = work.queries(_profiles(work, generator))
    task = _task(bench, done, flat, work)
    hard = hard_items(task, LearningConfig.from_flat(flat).learn_from, "finetune")
    texts = [prompt + text for text in work.shown.items]
    rows = Rows(queries, texts, bench.train.histories()[1], hard)
    loaded = LocalNetwork.load(name, None, {}, "--base")
    told = {"base": network_revision(name, None) or name, "pooling": pooling, "query": generator.prompt.digest}
    total = tuning.steps(len(hard.pairs))
    with tqdm(total=total, desc="fine-tuning", unit="step", disable=None) as bar:
        network, losses = tuning.train(loaded, rows, pooling, folder, told, bar.update)
    record = AdapterRecord(
        base=name,
        base_revision=network_revision(name, None),
        pooling=pooling,
        item_prompt=prompt,
        query=generator.prompt.user,
        shown=generator.shown_settings,
        training={**tuning.config.model_dump(), "steps": len(losses), "losses": losses},
        train=bench.train.fingerprint,
    )
    write_adapter(network, loaded.tokenizer, folder, record, generator.prompt.file())
    return FineTuned(folder, (len(hard.pairs), bench.train.matrix.nnz), losses)


@quiet_recbole()
def estimate_finetuning(
    base: str,
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
) -> FineTuningCost:
    """Count pairs, steps and tokens; only the tokenizer is loaded. Arguments as for `finetune`."""
    config, name = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments), _whole_model(base)
    tuning, generator, _ = _parts(config.settings.flat)
    train, _ = train_split(config)
    work = generator.work(train)
    queries, count = work.queries(work.profiles([])), train.matrix.nnz
    some = [queries(place) for place in range(0, count, max(1, count // _MEASURED))]
    tokens = counter_of(load_tokenizer(name, None, "transformers"), "")(some)
    return FineTuningCost(count, tuning.steps(count), round(tokens * count / len(some)), some[0])


def _whole_model(base: str) -> str:
    """The model to fine-tune, as it is loaded: the whole path of a folder, or a name.

    Raises:
        ConfigError: it is an adapter, or a path where no model lies.
    """
    name, path = local_model(base), Path(base)
    if (below := adapter_base(name)) is not None:
        raise ConfigError(f"--base names {name}, an adapter of {below}: name a whole model")
    if path.is_dir() and not (path / "config.json").is_file():
        raise ConfigError(f"--base={base}: the folder {name} holds no config.json, so no model: name another")
    if path.is_file() or (not path.is_dir() and base.startswith((".", "/", "~"))):
        raise ConfigError(f"--base={base} is no folder (looked from {Path.cwd()}): name the folder of a causal model")
    return name


def _parts(flat: dict[str, Any]) -> tuple[FineTuning, LLMGenerator, Pooling]:
    pooling: Pooling = flat["text_pooling"]
    if pooling == "cls":
        raise ConfigError(
            "dtlns_text_pooling: cls takes the first token, and that of a causal model sees no other: set it to last"
        )
    vector = {**flat, "hnlmrec_llm_form": "vector", "hnlmrec_llm_max_pairs": None}
    return FineTuning.from_flat(flat), LLMGenerator.from_flat(vector, "llm"), pooling


def _prepared(config: DTLNSConfig) -> tuple[Workbench, Preparation]:
    flat, (train, part) = config.settings.flat, train_split(config)
    with workbench(flat, train, config["show_progress"]) as bench:
        done = prepare_on(bench, flat, train, make_teacher(flat, part))
    logger.info(done.summary())
    return bench, done


def _profiles(work: Work, generator: LLMGenerator) -> Profiles:
    if not work.profile_steps:
        return work.profiles([])
    with TextAsker(generator.engine, generator.config.max_failed, "dtlns_hnlmrec_llm_") as asker:
        return work.profiles([step.texts(work.ask(step, asker).texts) for step in work.profile_steps])


def _task(bench: Workbench, done: Preparation, flat: dict[str, Any], work: Work) -> GenerationTask:
    """What hard negatives are found by: for the teacher's, whether an item says anything is enough."""
    judged = done.verdicts.label == Label.NEGATIVE
    by_rule = LearningConfig.from_flat(flat).learn_from == "rule"
    said = np.array([[bool(text)] for text in work.shown.items], dtype=np.float32)
    return GenerationTask(
        train=bench.train,
        vectors=unit_rows(bench.train.text_vectors) if by_rule else said,
        item_vectors=done.item_vectors,
        false_negatives=done.forbidden,
        hard=(done.candidates.users[judged].astype(np.int64), done.candidates.items[judged].astype(np.int64)),
    )
