"""Teachers that RecBole trains: any general recommender, or a checkpoint of one."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.data.utils import get_dataloader
from recbole.sampler import Sampler
from recbole.trainer import trainer as recbole_trainer
from recbole.utils import get_trainer, init_seed

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.dataset import DTLNSDataset, numbering
from recbole_dtlns.bridge.models.memory import check_embeddings_fit
from recbole_dtlns.bridge.repairs.reproducibility import reproducible_training
from recbole_dtlns.bridge.training.checkpoint import Checkpoint
from recbole_dtlns.bridge.training.divergence import StopsWhenDiverged
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import CheckpointError
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.teachers.closed_form import column_factors
from recbole_dtlns.teachers.contract import FittedTeacher, Teacher
from recbole_dtlns.teachers.table import TEACHERS

logger = logging.getLogger("recbole_dtlns")

_PROFILE_USERS = 2000  # users whose scores describe the items of a model without item vectors


def make_teacher(settings: DTLNSSettings, train_dataset: Dataset) -> Teacher:
    """The teacher that the settings name.

    Args:
        settings: the run's settings.
        train_dataset: RecBole's data set of the train split; only `checkpoint` needs it, for its ids.
    """
    if settings.teacher in TEACHERS.names():
        return TEACHERS.make(settings.teacher, settings.flat)
    if settings.teacher == "checkpoint":
        return CheckpointTeacher(str(settings.teacher_checkpoint), train_dataset)
    return RecBoleTeacher(settings)


def teacher_recipe(settings: DTLNSSettings) -> tuple[int, dict[str, Any]]:
    """Version and inputs of the teacher that the settings name; a checkpoint's content is not among them."""
    if settings.teacher == "checkpoint":
        return CheckpointTeacher.version, {"teacher": "checkpoint"}
    own = settings.teacher in TEACHERS.names()
    teacher = TEACHERS.make(settings.teacher, settings.flat) if own else RecBoleTeacher(settings)
    return teacher.version, teacher.inputs()


class RecBoleTeacher:
    """Any RecBole general recommender, trained for a fixed number of epochs on the train pairs alone.

    The model gets a data set of its own, written from the canonical train pairs, so neither its ids nor its random
    numbers can depend on validation or test pairs.

    Args:
        settings: names the model (`teacher`), its epochs, config files, seed and vector length.
    """

    version = 2

    def __init__(self, settings: DTLNSSettings) -> None:
        self.settings = settings

    def inputs(self) -> dict[str, Any]:
        config = self._config(data_path=".")
        # Where files lie and what is printed does not change the result.
        incidental = ("data_path", "checkpoint_dir", "show_progress", "device", "gpu_id", "state")
        resolved = {key: value for key, value in config.plain().items() if key not in incidental}
        return {"teacher": self.settings.teacher, "config": resolved, "profile_users": _PROFILE_USERS}

    def fit(self, train: TrainInteractions) -> FittedTeacher:
        """Train, and read scores and item vectors off the model.

        Raises:
            ConfigError: no memory holds its vectors.
            DivergedError: its loss became NaN or infinite.
        """
        with tempfile.TemporaryDirectory(prefix="recbole_dtlns-teacher-") as folder, _no_tensorboard(), quiet_recbole():
            _write_atomic_file(Path(folder) / "teacher" / "teacher.inter", train)
            config = self._config(folder)
            init_seed(config["seed"], config["reproducibility"])
            dataset = DTLNSDataset(config)
            dataset._change_feat_format()
            check_embeddings_fit(config, dataset)
            distribution = config["train_neg_sample_args"]["distribution"]
            sampler = Sampler("train", [dataset], distribution if distribution != "none" else "uniform")
            loader = get_dataloader(config, "train")(config, dataset, sampler.set_phase("train"), shuffle=True)
            model = config.model_class(config, dataset).to(config["device"])
            base = get_trainer(config["MODEL_TYPE"], config["model"])
            trainer = type(f"Teacher{base.__name__}", (_StopsWhenDiverged, base), {})(config, model)
            logger.info("training the teacher %s for %d epochs", config["model"], config["epochs"])
            with reproducible_training(config):
                trainer.fit(loader, None, verbose=False, saved=False, show_progress=False)
            users = dataset.token2id(dataset.uid_field, [str(user) for user in range(train.n_users)])
            known = dataset.field2token_id[dataset.iid_field]
            # An item whose pairs were all hidden is not in the file; it gets the padding id, which scores -inf.
            items = np.array([known.get(str(item), 0) for item in range(train.n_items)])
            return ModelTeacher(trainer, dataset, users, items, self.settings.teacher_dim)

    def _config(self, data_path: str) -> DTLNSConfig:
        return DTLNSConfig(
            self.settings.teacher,
            "teacher",
            self.settings.teacher_config_files,
            {
                "dtlns_preset": "off",
                "data_path": data_path,
                "checkpoint_dir": data_path,
                "load_col": {"inter": ["user_id", "item_id"]},
                "epochs": self.settings.teacher_epochs,
                "seed": self.settings.seed,
                "show_progress": False,
                "eval_step": 0,
                "worker": 0,
            },
        )


class _StopsWhenDiverged(StopsWhenDiverged):
    def _what_to_lower(self) -> str:
        return f"the teacher's {super()._what_to_lower()} in a file that dtlns_teacher_config_files names"


class CheckpointTeacher:
    """A model that an earlier run of this package trained and saved.

    Args:
        path: a run folder's best.pth or last.pth.
        train_dataset: RecBole's data set of the train split, whose ids the checkpoint must share.

    Raises:
        CheckpointError: the file is missing or damaged.
    """

    version = 2

    def __init__(self, path: str, train_dataset: Dataset) -> None:
        self.path = Path(path)
        self.dataset = train_dataset
        self.checkpoint = Checkpoint.read(self.path)

    def inputs(self) -> dict[str, Any]:
        return {"teacher": "checkpoint", "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest()}

    def fit(self, train: TrainInteractions) -> FittedTeacher:
        """Load the model; nothing is trained.

        Raises:
            CheckpointError: the checkpoint was trained on other train pairs, or in a leaking run.
        """
        saved, origin = self.checkpoint, self.checkpoint.provenance
        if origin.train_fingerprint != train.fingerprint:
            raise CheckpointError(
                f"{self.path} was trained on other train pairs than this run's: its knowledge could hold this run's "
                "validation or test pairs. Train the teacher with the same data, split and seed"
            )
        if origin.numbering != numbering(self.dataset):
            raise CheckpointError(
                f"{self.path} numbers users and items otherwise than this run, so its weights would belong to others: "
                "the files of the data set were reordered, or hold other validation or test pairs"
            )
        if origin.leaking:
            raise CheckpointError(f"{self.path} comes from a run of the leaking protocol 'authors'; it cannot teach")
        if origin.chosen_on_validation:
            logger.warning("the teacher %s had its epoch chosen on validation pairs; prefer a fixed epoch", self.path)
        # The GPU is chosen for the run that teaches now, not for the one that was saved.
        own_keys = {
            key: value
            for key, value in saved.config.items()
            if not key.startswith("dtlns_") and key not in ("gpu_id", "use_gpu", "resume_from")
        }
        own_keys |= {"dtlns_preset": "off", "data_path": ".", "checkpoint_dir": tempfile.gettempdir()}
        with _no_tensorboard(), quiet_recbole():
            config = DTLNSConfig(saved.model, "teacher", config_dict=own_keys)
            model = config.model_class(config, self.dataset).to(config["device"])
            # What a sampler learnt with the model is no part of the model.
            weights = {key: value for key, value in saved.state_dict.items() if not key.startswith("dtlns_")}
            model.load_state_dict(weights)
            model.load_other_parameter(saved.other_parameter)
            trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
            users = self.dataset.token2id(self.dataset.uid_field, train.user_tokens)
            items = self.dataset.token2id(self.dataset.iid_field, train.item_tokens)
            return ModelTeacher(trainer, self.dataset, users, items, int(own_keys.get("embedding_size") or 64))


class ModelTeacher:
    """Scores and item vectors of a trained RecBole model, in canonical ids.

    Args:
        trainer: the RecBole trainer that holds the model; it knows how to score every kind of model.
        dataset: the data set whose ids the model uses.
        users, items: the model's id of every canonical user and item; 0 for an item that the model does not know.
        dimension: length of the item vectors where the model has none.
    """

    def __init__(self, trainer: Any, dataset: Dataset, users: np.ndarray, items: np.ndarray, dimension: int) -> None:
        self._trainer, self._dataset = trainer, dataset
        self._users, self._items = np.asarray(users), np.asarray(items)
        trainer.tot_item_num = dataset.item_num
        trainer.item_tensor = dataset.get_item_feature().to(trainer.device)
        trainer.model.eval()
        self.item_vectors = self._read_item_vectors(dimension)

    @torch.no_grad()
    def scores(self, users: np.ndarray) -> np.ndarray:
        """Scores [B, n_items] of canonical users."""
        ids = torch.as_tensor(self._users[users])
        interaction = self._dataset.join(Interaction({self._dataset.uid_field: ids}))
        _, scores, _, _ = self._trainer._full_sort_batch_eval((interaction, None, None, None))
        return scores.cpu().numpy()[:, self._items]

    @torch.no_grad()
    def _read_item_vectors(self, dimension: int) -> np.ndarray:
        """Propagated item embeddings, else the item embedding table, else factors of the model's scores."""
        model = self._trainer.model
        for name in ("item_embedding", "item_emb"):
            table = getattr(model, name, None)
            if isinstance(table, torch.nn.Embedding) and table.num_embeddings == self._dataset.item_num:
                propagated = getattr(model, "restore_item_e", None)
                weights = propagated if isinstance(propagated, torch.Tensor) else table.weight
                vectors = weights.detach().cpu().numpy()[self._items].astype(np.float32)
                vectors[self._items == 0] = 0
                return vectors
        sample = np.random.default_rng(0).permutation(len(self._users))[:_PROFILE_USERS]
        scores = self.scores(np.sort(sample)).astype(np.float64)
        return column_factors(np.where(np.isneginf(scores), 0, scores), dimension)


def _write_atomic_file(path: Path, train: TrainInteractions) -> None:
    users, items = train.histories()
    path.parent.mkdir(parents=True)
    rows = "\n".join(f"{user}\t{item}" for user, item in zip(users.tolist(), items.tolist(), strict=True))
    path.write_text(f"user_id:token\titem_id:token\n{rows}\n")


class _SilentWriter:
    """Stands in for a TensorBoard writer; a teacher's curves do not belong into the run's."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None: ...

    def add_hparams(self, *args: Any, **kwargs: Any) -> None: ...


@contextmanager
def _no_tensorboard() -> Iterator[None]:
    original = recbole_trainer.get_tensorboard
    recbole_trainer.get_tensorboard = lambda logger: _SilentWriter()
    try:
        yield
    finally:
        recbole_trainer.get_tensorboard = original
