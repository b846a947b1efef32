"""Train and evaluate one model: `run_recbole` with DTL-NS, and without RecBole's quick start.

(RecBole's own quick start imports Ray, resolves the model by name alone and takes neither loader nor trainer.)
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole.data.dataset import Dataset
from recbole.utils import dict2str, get_local_time, init_seed

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.dataset import check_data_set
from recbole_dtlns.bridge.data.features import check_features, tell_of_missing_features
from recbole_dtlns.bridge.data.file_columns import check_suffixes
from recbole_dtlns.bridge.data.item_fields import check_item_fields, described_train
from recbole_dtlns.bridge.data.knowledge import check_knowledge_files
from recbole_dtlns.bridge.data.labels import check_both_labels, check_labels, tell_of_labels
from recbole_dtlns.bridge.data.pairs import hide_train_pairs, numbering, target_pairs
from recbole_dtlns.bridge.data.run_data import (
    RunData,
    check_negative_sampling,
    check_users_have_histories,
    check_users_have_negatives,
    dtlns_run_data,
    plain_run_data,
)
from recbole_dtlns.bridge.data.sequences import check_sequence_fields
from recbole_dtlns.bridge.data.splits import load_splits
from recbole_dtlns.bridge.launching import Group, asks_for_several, check_several, refuse_several, run_on_several
from recbole_dtlns.bridge.models.capabilities import check_model
from recbole_dtlns.bridge.models.council import Council
from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.bridge.models.making import make_model
from recbole_dtlns.bridge.models.memory import check_embeddings_fit, check_scores_fit
from recbole_dtlns.bridge.models.sparse_gradients import check_sparse_gradients, make_sparse
from recbole_dtlns.bridge.refit import (
    VALIDATED,
    Chosen,
    carry_validated,
    check_chosen_by_something,
    check_refit,
    stages_begun,
    train_and_validation,
)
from recbole_dtlns.bridge.run_log import open_log, shows_bars
from recbole_dtlns.bridge.serving.earlier_pairs import EarlierPairs
from recbole_dtlns.bridge.serving.kept_data import KeptData
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.bridge.training.sampling import make_sampling
from recbole_dtlns.bridge.training.trainer import DTLNSTrainerMixin, build_trainer
from recbole_dtlns.bridge.warm_start import WarmStart
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Observed
from recbole_dtlns.errors import CheckpointError, ConfigError
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.methods import Task
from recbole_dtlns.methods.table import guide
from recbole_dtlns.preparation import Preparation
from recbole_dtlns.settings.checks import check_given_files
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.storage.yaml_file import to_yaml
from recbole_dtlns.training.checkpoint import LAST, SETTINGS, Provenance
from recbole_dtlns.training.processes import Processes

logger = logging.getLogger("recbole_dtlns")

_WITHOUT_LENGTH = ("gauc", "auc", "mae", "rmse", "logloss")  # RecBole's metrics that are not of lists of k items
LEAK_WARNING = (
    "protocol 'authors': pseudo-positives, purged of validation and test pairs, mask the evaluation. The metrics of "
    "this run are inflated and comparable with nothing; all it writes is marked as leaking"
)


@quiet_recbole()
def run_recbole_dtlns(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    queue: Any = None,
    *,
    arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a model with DTL-NS and evaluate it on test once.

    Args:
        model: name of one of RecBole's general, sequential, context-aware or knowledge-aware recommenders,
            `package.module:Class`, or a model class.
        dataset: name of the data set.
        config_file_list: RecBole config files, which may hold `dtlns_*` keys.
        config_dict: values that win over the files.
        saved: whether to save checkpoints; without them the last epoch's model is evaluated, as in RecBole.
        queue: gets the result as well, as in `run_recbole`.
        arguments: command-line arguments `--key=value`, which win over everything. The process's own
            arguments are never read.

    With RecBole's `nproc` (and, over several machines, `world_size`, `group_offset`, `ip` and `port`) as many processes
    do the run, each of which imports the program's main module.

    Returns:
        RecBole's result: `best_valid_score`, `valid_score_bigger`, `best_valid_result`, `test_result`; and
        `protocol`, `leaking`, `run_folder`. Of a run that refits, `test_result` is None, as the model that validation
        chose is not measured on test, and `refit` holds what is: `epochs`, `train_pairs` (validation's among them) and
        `test_result`.

    Raises:
        DTLNSError: wrong settings, data or installation; raised before training starts.
    """
    given: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "config_file_list": config_file_list,
        "config_dict": config_dict,
        "arguments": arguments,
    }
    config = DTLNSConfig(**given)
    check_refit(config, saved)
    if asks_for_several(config):
        check_several(config)
        result = run_on_several(_one_of_several, (given, saved), Group.of(config))
    else:
        result = _train_and_test(config, saved)
    if queue is not None:
        queue.put(result)
    return result


@quiet_recbole()
def _one_of_several(processes: Processes, given: dict[str, Any], saved: bool) -> dict[str, Any]:
    return _train_and_test(DTLNSConfig(**given, processes=processes), saved)


def _train_and_test(config: DTLNSConfig, saved: bool) -> dict[str, Any]:
    """A run, from its configuration to its result."""
    run, bars = assemble_run(config), shows_bars(config)
    score: float | None
    validates = config.validates_first and run.chosen is None
    folder = run.folder.parent if validates else run.folder
    with _told_how_to_go_on(folder, run.folder):
        score, metrics = run.fit(saved=saved, show_progress=bars)
        if validates:
            splits = run.splits
            del run  # its model makes room for the next
            run = assemble_refit(config, splits, folder)
            run.fit(saved=saved, show_progress=bars)
    if run.chosen is not None:
        score, metrics = run.chosen.score, run.chosen.metrics
    test_result = run.trainer.evaluate(run.data.test_loader, load_best_model=saved, show_progress=bars)
    result = {
        "best_valid_score": score,
        "valid_score_bigger": config["valid_metric_bigger"],
        "best_valid_result": metrics,
        "test_result": test_result if run.chosen is None else None,
        "protocol": config.settings.protocol,
        "leaking": config.settings.leaking,
        "run_folder": str(run.folder),
    }
    if run.chosen is not None:
        pairs = len(run.data.train_loader._dataset)
        result["refit"] = {"epochs": run.chosen.epochs, "train_pairs": pairs, "test_result": test_result}
    if config.processes.first:
        write_file(run.folder / "result.json", json.dumps(result, indent=2, default=float), "checkpoint_dir")
    mark = "LEAKING " if config.settings.leaking else ""
    logger.info("%sbest valid: %s", mark, dict2str(metrics or {}))
    of_refit = "" if run.chosen is None else f" of the refit on train and validation, {run.chosen.epochs} epochs"
    logger.info("%stest result%s: %s", mark, of_refit, dict2str(test_result or {}))
    return result


@contextmanager
def _told_how_to_go_on(folder: Path, first_stage: Path) -> Iterator[None]:
    """Whoever interrupts the training of a run is told what to go on with, once its first stage has a checkpoint."""
    try:
        yield
    except KeyboardInterrupt:
        if (first_stage / LAST).exists():
            logger.warning("stopped in training: go on with --resume_from=%s", folder)
        raise


@dataclass(frozen=True)
class Splits:
    """The data of a run.

    Attributes:
        whole: the data set.
        parts: its clean train, validation and test parts.
        hidden: train pairs that `dtlns_hide_train` keeps from the run.
    """

    whole: Dataset
    parts: list[Dataset]
    hidden: Observed


@dataclass(frozen=True)
class Run:
    """A run that is ready to train.

    Attributes:
        config: its resolved configuration.
        folder: where its files go.
        splits: the data set.
        data: its loaders; a refit has none of validation.
        guidance: what the method tells training; None where the settings ask for nothing.
        trainer: holds the model.
        chosen: for how long a refit trains; None for a run on train alone.
        earlier: what the models knew that its model began with.
    """

    config: DTLNSConfig
    folder: Path
    splits: Splits
    data: RunData
    guidance: Guidance | None
    trainer: DTLNSTrainerMixin
    earlier: EarlierPairs
    chosen: Chosen | None = None

    @property
    def parts(self) -> list[Dataset]:
        """The clean train, validation and test parts of the data set."""
        return self.splits.parts

    @property
    def hidden(self) -> Observed:
        """Train pairs that `dtlns_hide_train` keeps from the run."""
        return self.splits.hidden

    @property
    def preparation(self) -> Preparation | None:
        """The guidance with all that the stages made it from, where the method works by them."""
        return self.guidance if isinstance(self.guidance, Preparation) else None

    def fit(
        self,
        *,
        saved: bool = True,
        show_progress: bool = False,
        after_evaluation: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Train.

        Args:
            saved: whether the run folder gets checkpoints, and with them what `load_run` needs of the data set.
            show_progress: whether bars are shown.
            after_evaluation: told the epoch and its score on validation.

        Returns:
            the best score on validation, and all metrics of that evaluation.

        Raises:
            DivergedError: the loss became NaN or infinite.
        """
        if saved and self.config.processes.first:
            given = (self.config.model_name, self.data.model_dataset, self.parts, self.hidden, self.earlier)
            KeptData.of(*given).write(self.folder)
        train, valid = self.data.train_loader, self.data.valid_loader
        return self.trainer.fit(train, valid, saved=saved, show_progress=show_progress, callback_fn=after_evaluation)


@quiet_recbole()
def assemble_run(config: DTLNSConfig) -> Run:
    """Do all that comes before training: check, load, prepare, and make loaders, model and trainer.

    Of a run that refits, it is the stage that is due: the one that validation watches, in the folder `validated` of the
    run's, or the refit, where a run is continued that was at it.

    Raises:
        DTLNSError: wrong settings, data or installation.
    """
    refuse_several(config)
    _check_resumed_run_exists(config)
    check_settings(config)
    validated, begun = stages_begun(config)
    start = WarmStart.of(config)
    folder = _open_run_folder(config)
    splits = Splits(*load_data(config))
    check_chosen_by_something(config, splits.parts)
    if start is not None:
        start.check(config, splits.parts)
    if config["refit"] is False:
        return _assembled(config, splits, folder, validated)
    if config.validates_first and begun is None:
        if config.processes.first:
            _write_settings(config, folder / VALIDATED)
        return _assembled(config, splits, folder / VALIDATED, validated)
    if validated is not None:
        with config.processes.first_before_others():
            if config.processes.first:
                carry_validated(validated, folder)
    return assemble_refit(config, splits, folder, begun)


@quiet_recbole()
def assemble_refit(config: DTLNSConfig, splits: Splits, folder: Path, begun: Path | None = None) -> Run:
    """Do all that comes before training on train and validation: prepare anew, and make everything anew.

    Args:
        config: of the run.
        splits: the data set.
        folder: of the run.
        begun: a refit to go on with.

    Raises:
        DTLNSError: wrong settings or data; what validation chose is missing or damaged.
    """
    chosen = Chosen.of(config, folder)
    logger.info("refit on train and validation: %d epochs", chosen.epochs)
    init_seed(config["seed"], config["reproducibility"])
    return _assembled(config, splits, folder, begun, chosen)


def _assembled(
    config: DTLNSConfig, splits: Splits, folder: Path, begun: Path | None, chosen: Chosen | None = None
) -> Run:
    parts = splits.parts if chosen is None else train_and_validation(splits.parts)
    start = WarmStart.of(config)
    train = described_train(parts[0], config.settings.flat)
    with config.processes.first_before_others():  # these find in the cache what it has prepared
        guidance = _guide_if_asked(config, train, parts[0])
    if config.settings.active:
        data = dtlns_run_data(config, splits.whole, parts, train, guidance)
    else:
        data = plain_run_data(config, splits.whole, parts)
    # RecBole seeds again here, so the model starts equal whatever was drawn before.
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    network = make_model(config, data.model_dataset)
    if config.settings.sparse_gradients:
        make_sparse(network)
    earlier = EarlierPairs() if start is None else start.earlier(parts[0])
    if start is not None:
        start.give(network, parts[0])
    if isinstance(network, Council) and guidance is not None:
        network.take(guidance, parts[0])
    logger.info(network)
    own = config.settings
    provenance = Provenance(
        train.fingerprint,
        numbering(parts[0]),
        own.protocol,
        own.leaking,
        refit=chosen is not None,
        learnt_more=len(earlier.learnt) > 0,
        began_with="" if start is None else start.digest,
        valid_fingerprint=target_pairs(splits.parts[1]).digest,
    )
    sampling = make_sampling(config, parts[0], data.train_loader, guidance)
    trainer = build_trainer(config, network, folder, sampling, provenance, chosen.epochs if chosen else None)
    if begun is not None:
        try:
            with config.processes.first_before_others():
                trainer.resume_checkpoint(begun)
        except BaseException:
            trainer.tensorboard.close()
            raise
    warn_of_keys(config)
    if chosen is not None:
        data = replace(data, valid_loader=None)
    return Run(config, folder, splits, data, guidance, trainer, earlier, chosen)


def prepare_only(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    arguments: Sequence[str] = (),
) -> Guidance | None:
    """Do what the method does before training and stop; None when the settings ask for no preparation.

    The guidance of `dtlns` is a `Preparation`. It is made from train; with a number of epochs as `refit`, from train
    and validation.
    """
    return prepare_run(DTLNSConfig(model, dataset, config_file_list, config_dict, arguments))


@quiet_recbole()
def prepare_run(config: DTLNSConfig) -> Guidance | None:
    """`prepare_only` of a resolved configuration."""
    check_settings(config)
    _, parts, _ = load_data(config)
    warn_of_keys(config)
    if config.refits and not config.validates_first:
        parts = train_and_validation(parts)
    return _guide_if_asked(config, described_train(parts[0], config.settings.flat), parts[0])


def train_split(config: DTLNSConfig) -> tuple[TrainInteractions, Dataset]:
    """What is looked at without training: the train pairs, with what is said of them, and the part that holds them.

    Settings are checked and data loaded, as for a run.
    """
    check_settings(config)
    _, parts, _ = load_data(config)
    warn_of_keys(config)
    return described_train(parts[0], config.settings.flat), parts[0]


def check_settings(config: DTLNSConfig) -> None:
    """Refuse what cannot work before any work is done, then seed and open the log as RecBole does."""
    settings = config.settings
    check_model(config)
    check_sparse_gradients(config)
    check_negative_sampling(config, settings)
    check_valid_metric(config)
    check_data_set(config)
    check_columns(config)
    check_refit(config)
    if config.settings.active or config.prepares:
        check_given_files(config.settings)
    init_seed(config["seed"], config["reproducibility"])
    if config.processes.first:
        open_log(config)
    tell_of_missing_features(config)
    if settings.leaking:
        logger.warning(LEAK_WARNING)


def check_columns(config: DTLNSConfig) -> None:
    """Refuse columns that are named or needed and are not in the files; one to be downloaded has none yet.

    Raises:
        ConfigError: there is no such file.
        DataError: the message names the columns that there are.
    """
    check_suffixes(config)
    check_sequence_fields(config)
    check_labels(config)
    check_features(config)
    check_knowledge_files(config)
    check_item_fields(config)


def warn_of_keys(config: DTLNSConfig) -> None:
    """Name what was given and may not be meant: last before the work, where it is read.

    These are the keys that nobody documents, and RecBole's that a preset has for its loss and that were set otherwise.
    """
    for key, (given, of_preset) in config.in_place_of_preset().items():
        logger.warning(
            "%s: %s is used, where the preset %s has %s for what it minimises",
            *(key, given, config.settings.preset, of_preset),
        )
    for key, advice in config.undocumented_keys().items():
        logger.warning("key '%s' is documented neither by RecBole nor by recbole_dtlns.%s", key, advice)


def check_valid_metric(config: DTLNSConfig) -> None:
    """RecBole would look for the value only after the first epoch, and stop with a KeyError.

    Raises:
        ConfigError: `metrics` and `topk` do not hold it.
    """
    metric, _, k = config["valid_metric"].lower().partition("@")
    known = [""] if metric in _WITHOUT_LENGTH else map(str, config["topk"])
    if metric not in map(str.lower, config["metrics"]) or k not in known:
        raise ConfigError(
            f"valid_metric is {config['valid_metric']}, which metrics {config['metrics']} at topk {config['topk']} do "
            "not hold: set valid_metric, or add to metrics or topk"
        )


def _check_resumed_run_exists(config: DTLNSConfig) -> None:
    """It is read after the preparation, which may take hours. A run's folder without checkpoints starts again."""
    run = config["resume_from"]
    if run and not Path(run).exists() and not (Path(run).parent / SETTINGS).exists():
        raise CheckpointError(f"resume_from: {run} does not exist (looked from {Path.cwd()})")


def _check_topk(config: DTLNSConfig, columns: int) -> None:
    """Torch would refuse longer lists after the first epoch; the padding item is ranked too, as the last."""
    if max(config["topk"]) > columns:
        raise ConfigError(
            f"topk holds {max(config['topk'])}, and the data set has {columns - 1} items: set topk to less"
        )
    if (keys := capability(config.model_class).shortlists) is None:
        return
    number, lengths = keys
    longest = max(map(int, str(config[lengths]).split(",")))
    if config[number] and longest > columns:
        raise ConfigError(
            f"{config['model']} ranks its best {longest} items again ({lengths}: {config[lengths]}), and the data set "
            f"has {columns - 1} items: set {lengths} to less"
        )


def _open_run_folder(config: DTLNSConfig) -> Path:
    """A new folder under checkpoint_dir that holds the resolved settings."""
    return config.processes.from_first(lambda: _new_run_folder(config))


def _new_run_folder(config: DTLNSConfig) -> Path:
    leak = "LEAKING-" if config.settings.leaking else ""
    name = f"{leak}{config['model']}-{config['dataset']}-{get_local_time()}-{secrets.token_hex(2)}"
    folder = Path(config["checkpoint_dir"]) / name
    _write_settings(config, folder)
    logger.info("run folder: %s (%s there holds every setting)", folder, SETTINGS)
    return folder


def _write_settings(config: DTLNSConfig, folder: Path) -> None:
    write_file(folder / SETTINGS, to_yaml(config.plain()), "checkpoint_dir")


def load_data(config: DTLNSConfig) -> tuple[Dataset, list[Dataset], Observed]:
    """The whole data set, its train, validation and test parts, and the train pairs that were hidden on purpose."""
    logger.info(config.changed())
    dataset, parts = load_splits(config)
    logger.info(dataset)
    if not config["repeatable"] or config.settings.active:  # else nothing is drawn
        check_users_have_negatives(parts)
    check_both_labels(config, parts)
    tell_of_labels(config, parts)
    check_users_have_histories(config, parts)
    _check_topk(config, dataset.item_num)
    check_embeddings_fit(config, dataset)
    check_scores_fit(config, dataset)
    parts[0], hidden = hide_train_pairs(parts[0], config.settings.hide_train, config.settings.seed)
    if len(hidden):
        logger.warning("dtlns_hide_train: %d train pairs are hidden from this run, as an experiment", len(hidden))
    return dataset, parts, hidden


def load_seeded(config: DTLNSConfig) -> tuple[Dataset, list[Dataset], Observed]:
    """The data as a run of this configuration has them, for whoever looks at them and does not run."""
    init_seed(config["seed"], config["reproducibility"])
    return load_data(config)


def _guide_if_asked(config: DTLNSConfig, train: TrainInteractions, train_dataset: Dataset) -> Guidance | None:
    settings = config.settings
    if not settings.active and not config.prepares:
        logger.info("DTL-NS is off: plain RecBole")
        return None
    if not config.prepares:
        logger.info("nothing to prepare: no relabelling, and neither loss nor sampler asks for any of it")
        return None
    teacher = make_teacher(settings.flat, train_dataset)
    guidance = guide(Task(train, settings.flat, teacher, config["show_progress"]))
    logger.info(guidance.summary())
    return guidance
