"""A run folder becomes a model to ask; nothing is prepared, no data set is read, and nothing is written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from recbole.model.abstract_recommender import AbstractRecommender, GeneralRecommender
from recbole.utils import init_seed

from recbole_dtlns.bridge.config import OF_ONE_RUN, DTLNSConfig
from recbole_dtlns.bridge.data.dataset_classes import dataset_class
from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.bridge.models.making import constructed
from recbole_dtlns.bridge.refit import VALIDATED
from recbole_dtlns.bridge.serving.kept_data import KeptData, KeptDataset
from recbole_dtlns.bridge.serving.scores import ModelScores
from recbole_dtlns.bridge.serving.trained_run import TrainedRun
from recbole_dtlns.bridge.training.trainer import LEARNT_BY_SAMPLER
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import CheckpointError, ConfigError
from recbole_dtlns.training.checkpoint import BEST, Checkpoint, RandomState

_NOT_OF_THE_MODEL = ("gpu_id", "use_gpu", "resume_from", "benchmark_filename", *OF_ONE_RUN)


def load_run(folder: str | Path, *, allow_leaking: bool = False, device: str | None = None) -> TrainedRun:
    """Load the best model of a run from its folder, wherever that lies now.

    Args:
        folder: a run folder; `result["run_folder"]` of `run_recbole_dtlns` names it.
        allow_leaking: whether a run of the leaking protocol `authors` may be loaded too.
        device: for the model, such as `cpu` or `cuda:1`; by default a GPU where there is one.

    Raises:
        ConfigError: torch cannot use the device.
        CheckpointError: the folder is none of a run, was made by another version, is damaged, or is of a leaking run.
        UnknownNameError: the model is a class that cannot be imported here.
    """
    path = Path(folder)
    if path.is_file() and (path.parent / BEST).exists():
        raise CheckpointError(f"{path} is a file of a run: its parent, {path.parent}, is the run folder")
    if not path.is_dir():
        raise CheckpointError(f"{path} is no run folder (looked from {Path.cwd()})")
    if not (path / BEST).exists():
        if (path / VALIDATED / BEST).exists():
            raise CheckpointError(
                f"the refit of {path} is not finished: go on with --resume_from={path}, or load "
                f"{path / VALIDATED}, the model that validation chose"
            )
        raise CheckpointError(f"{path} holds no {BEST}: it is no run folder, or the run ended before it saved a model")
    place = _usable(device)
    kept, saved = KeptData.read(path), Checkpoint.read(path / BEST, place)
    if saved.provenance.numbering != kept.numbering:
        raise CheckpointError(f"{path} holds files of two runs: one of them was copied there. Take them from one run")
    if saved.provenance.leaking and not allow_leaking:
        raise CheckpointError(
            f"{path} is a run of the leaking protocol 'authors': pairs of validation and test decided what it learnt "
            "from, and its metrics are inflated. Train with dtlns_protocol: clean, or say --allow-leaking (in Python "
            "allow_leaking=True)"
        )
    config = _config(kept, saved, place)
    dataset = dataset_class(config, KeptDataset)(config, kept)
    model = _model(config, dataset, saved, path)
    scores = ModelScores(model, dataset, int(config["eval_batch_size"]), kept.sequences)
    return TrainedRun(path, saved.config, _metrics(path, saved), saved.provenance, model, scores, kept)


def _usable(device: str | None) -> torch.device:
    """A device, tried before a file is read: where it is missing, checkpoints look damaged."""
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(name)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, ImportError) as error:  # AssertionError: torch is built without CUDA
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"torch cannot use the device '{name}' here ({reason}): name another, such as cpu") from error
    return place


def _config(kept: KeptData, saved: Checkpoint, device: torch.device) -> DTLNSConfig:
    """What the model's constructor reads; how it was trained has no part in it, nor has the machine."""
    keys = {
        key: value
        for key, value in saved.config.items()
        if not key.startswith("dtlns_") and key not in (*_NOT_OF_THE_MODEL, "model", "dataset")
    }
    keys |= {"dtlns_preset": "off", "allow_unknown_keys": True, "use_gpu": device.type != "cpu"}
    with _visible_devices_kept(), quiet_recbole():
        config = DTLNSConfig(kept.model, kept.dataset, config_dict=keys)
    config["device"] = device
    return config


@contextmanager
def _visible_devices_kept() -> Iterator[None]:
    """RecBole's configuration chooses the GPUs of the whole process, which may have work of its own on others."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        yield
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _model(config: DTLNSConfig, dataset: KeptDataset, saved: Checkpoint, folder: Path) -> AbstractRecommender:
    cls = config.model_class
    if _is_fitted(cls, saved.other_parameter):
        model = cls.__new__(cls)  # its constructor would fit it once more, which may take hours
        GeneralRecommender.__init__(model, config, dataset)
    else:
        model = _constructed(cls, config, dataset, folder)
        weights = {key: value for key, value in saved.state_dict.items() if not key.startswith(f"{LEARNT_BY_SAMPLER}.")}
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(
                f"{folder / BEST} does not fit the model {cls.__name__}, which may have been changed since: {error}"
            ) from error
    model.load_other_parameter(saved.other_parameter)
    return model.eval()


def _is_fitted(cls: type, state: Mapping[str, Any]) -> bool:
    """Whether the saved state is all that a model scores by; somebody's own constructor may do more."""
    fitted = capability(cls).fitted
    return bool(fitted) and cls.__module__.startswith("recbole.model.") and set(fitted) <= state.keys()


def _constructed(cls: type, config: DTLNSConfig, dataset: KeptDataset, folder: Path) -> AbstractRecommender:
    """The model as training constructed it: what it draws there (histories, neighbours) is no part of its weights."""
    try:
        with quiet_recbole(), _seeded_as_training(config):
            return constructed(config, dataset)
    except (AttributeError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{cls.__name__} cannot be made from {folder} ({type(error).__name__}: {error}): its constructor reads "
            "something that run folders do not keep, such as a file beside the data set"
        ) from error


@contextmanager
def _seeded_as_training(config: DTLNSConfig) -> Iterator[None]:
    """The seed with which training made its model; the process's own random numbers go on afterwards."""
    cudnn = torch.backends.cudnn
    before, flags = RandomState.taken(), (cudnn.benchmark, cudnn.deterministic)
    try:
        init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
        yield
    finally:
        before.restore()
        cudnn.benchmark, cudnn.deterministic = flags


def _metrics(folder: Path, saved: Checkpoint) -> dict[str, Any]:
    """Of the run's result, and of its checkpoint where the run was not measured on test; a refit has none on valid."""
    file = folder / "result.json"
    if not file.exists():
        return {"valid": saved.best_valid_result or None, "test": None}
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        if saved.provenance.refit:
            return {"valid": None, "test": result["refit"]["test_result"]}
        return {"valid": result["best_valid_result"], "test": result["test_result"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged ({error}): delete it to load the run without its metrics") from error
