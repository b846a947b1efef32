"""Generating without training: hard negatives to a folder, requests for others to answer, costs in advance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.runner import prepare_run, train_split
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.generation.given import write_pair_vectors
from recbole_dtlns.generation.language_model.estimate import GenerationCost, generation_cost, pending_steps
from recbole_dtlns.generation.language_model.generator import LLMGenerator
from recbole_dtlns.generation.table import GENERATORS
from recbole_dtlns.llm.batch_files import RecordedReplies, write_requests
from recbole_dtlns.preparation import Preparation
from recbole_dtlns.preparation.encoding import Encoding
from recbole_dtlns.preparation.generating import Generating
from recbole_dtlns.storage.artefact_store import cache_folder
from recbole_dtlns.text.contract import Encoder
from recbole_dtlns.text.cost import EncodingCost, encoding_cost


@dataclass(frozen=True)
class Generated:
    """Hard negatives that were generated.

    Attributes:
        preparation: what the stages found, with `generated`.
        inputs: what determined the negatives beside the data, for whoever reads the folder.
    """

    preparation: Preparation
    inputs: dict[str, Any]

    def write(self, folder: str | Path) -> int:
        """Write the vectors as a folder that `dtlns_hnlmrec_generator: file` reads; returns how many pairs have one.

        Raises:
            ArtefactError: it cannot be written.
        """
        found = self.preparation.generated
        return 0 if found is None else write_pair_vectors(folder, found, self.inputs)


def generate_negatives(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
) -> Generated:
    """Generate the hard negatives of a run, without training; arguments as for `run_recbole_dtlns`.

    Raises:
        ConfigError: the method generates none.
    """
    config = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    generator = _generator(config)
    done = prepare_run(config)
    if not isinstance(done, Preparation) or done.generated is None:
        raise ConfigError(f"dtlns_method: {config.settings.method} generated nothing")
    return Generated(done, generator.generator.inputs())


@quiet_recbole()
def estimate_generating(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    probe: int | None = None,
    arguments: Sequence[str] = (),
) -> GenerationCost:
    """What the run's generator would cost; other arguments as for `run_recbole_dtlns`.

    Args:
        probe: requests of each kind to ask for real; None: some where the model runs on this machine.

    Raises:
        ConfigError: the generator asks no language model.
    """
    config = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    stage = _generator(config)
    return generation_cost(_asking(stage), train_split(config)[0], stage.encoder, probe)


@quiet_recbole()
def export_generating(
    file: str | Path,
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
) -> dict[str, int]:
    """Write the generator's requests that are not answered yet as an OpenAI-batch file; returns how many, by kind.

    Requests for hard negatives hold the profiles, so where a language model writes these too, they come first: read
    their replies, and export again. Arguments as for `export_requests`.

    Raises:
        ConfigError: the generator asks no language model, or none is named.
    """
    config = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    flat = {**config.settings.flat, "hnlmrec_llm_engine": RecordedReplies.name}
    _generator(config)
    generator = _asking(Generating.from_flat(flat))
    steps = pending_steps(generator, train_split(config)[0])
    requests = (request for _, those in steps for request in those)
    write_requests(Path(file), requests, generator.engine.model, generator.engine.config.engine_args)
    return {step.name: len(those) for step, those in steps}


@quiet_recbole()
def estimate_encoding(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
) -> EncodingCost:
    """What it would cost to encode what the items say; nothing is encoded. Arguments as for `run_recbole_dtlns`.

    Raises:
        ConfigError: the items say nothing.
    """
    config = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    train, _ = train_split(config)
    if train.content is None:
        raise ConfigError("there is nothing to encode: set dtlns_text_fields to fields of the .item file")
    encoder: Encoder = Encoding.from_flat(config.settings.flat).encoder
    return encoding_cost("texts of items", encoder, train.content.texts, cache_folder(config.settings.cache_dir))


def _generator(config: DTLNSConfig) -> Generating:
    """The stage that generates.

    Raises:
        ConfigError: the method has none.
    """
    settings = config.settings
    if not settings.method_class.generates:
        raise ConfigError(f"dtlns_method: {settings.method} generates no negatives: set it to hnlmrec")
    return Generating.from_flat(settings.flat)


def _asking(stage: Generating) -> LLMGenerator:
    found = stage.generator
    if isinstance(found, LLMGenerator):
        return found
    raise ConfigError(
        f"dtlns_hnlmrec_generator: {stage.config.generator} asks no language model and costs nothing: run it. Those "
        f"that there are: {', '.join(GENERATORS.names())}"
    )
