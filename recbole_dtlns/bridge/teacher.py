"""Teachers that RecBole trains: any general recommender, or a checkpoint of one."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.data.utils import get_dataloader
from recbole.sampler import Sampler
from recbole.utils import get_trainer, init_seed

from recbole_dtlns.bridge.config import OF_ONE_RUN, DTLNSConfig
from recbole_dtlns.bridge.data.dataset import DTLNSDataset
from recbole_dtlns.bridge.data.pairs import numbering
from recbole_dtlns.bridge.models.making import make_model
from recbole_dtlns.bridge.models.memory import check_embeddings_fit
from recbole_dtlns.bridge.training.divergence import StopsWhenDiverged
from recbole_dtlns.bridge.training.tensorboard import no_tensorboard
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.components import PREFIX
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import CheckpointError, ConfigError
from recbole_dtlns.numerics.factors import column_factors
from recbole_dtlns.preparation.convening import Convening
from recbole_dtlns.teachers.by_recbole import SavedConfig, TrainedConfig
from recbole_dtlns.teachers.contract import FittedTeacher, Teacher
from recbole_dtlns.teachers.council import Council
from recbole_dtlns.teachers.table import TEACHERS
from recbole_dtlns.training.checkpoint import Checkpoint
from recbole_dtlns.training.reproducibility import reproducible_training

logger = logging.getLogger("recbole_dtlns")

_PROFILE_USERS = 2000  # users whose scores describe the items of a model without item vectors
_CHECKPOINT = "checkpoint"
# The keys of this package play no part in a teacher's own run. Version 2 of its artefacts is known by them all the
# same, as they were then, so that renaming or adding a key does not train a teacher again.
_OWN_KEYS = {
    PREFIX + key: value
    for key, value in json.loads("""
{"ahns_alpha": 1.0, "ahns_beta": 0.1, "ahns_power": -2.0, "alpha_co": 0.1, "alpha_se": 0.3, "cache_dir": null,
"candidates": 20, "candidates_file": null, "dens_gamma": 0.3, "dens_warmup": 100, "dns_top": 5, "fast": false,
"graph_max_history": 1000, "graph_neighbours": 100, "hardest_rank": 1, "hide_train": 0.0, "judge": "structural",
"judge_api_key_env": null, "judge_base_url": null, "judge_batch_size": 32, "judge_concurrency": 32,
"judge_engine_args": {}, "judge_hide": 0.1, "judge_labels": null, "judge_lift": 1.0, "judge_llm": "openai",
"judge_max_abstain_rate": 0.1, "judge_max_history": 0, "judge_max_llm_pairs": 10000, "judge_max_tokens_total":
null, "judge_missing": "abstain", "judge_model": null, "judge_prompt": "pair", "judge_random_rate": 0.5,
"judge_rank_first": 5, "judge_ray_address": null, "judge_ray_resources": {}, "judge_ray_urls": [],
"judge_ray_workers": 1, "judge_reask_abstained": false, "judge_retries": 6, "judge_revision": null,
"judge_slice": 2048, "judge_sure": 0.4, "judge_threshold": 0.5, "judge_timeout": 120.0, "judge_tokenizer": null,
"loss": "model", "loss_debiased": false, "loss_shared": 1024, "loss_temperature": 1.0, "mixing": false,
"n_candidates": 10, "paths_know_train": true, "pool": "uniform", "pool_depths": [2], "pool_file": null,
"pool_power": 0.75, "pool_tree": "both", "pool_tree_share": 0.5, "preset": "off", "protocol": "clean",
"refuse_damaged": false, "relabel_add": false, "relabel_decay": 0.0, "relabel_exclude": false, "relabel_graph":
false, "relabel_order": "rank", "relabel_top": 5, "relabel_weight": 0.3, "sampler": "recbole", "seed": 42,
"semantic_paths": null, "srns_alpha": 5.0, "srns_memory": 8, "srns_ramp": 50, "srns_temperature": 10.0,
"structure_dim": 32, "structure_paths": null, "teacher": "EASE", "teacher_checkpoint": null,
"teacher_config_files": [], "teacher_dim": 64, "teacher_ease_reg": 100.0, "teacher_epochs": 50, "teacher_knn_k":
200, "teacher_knn_shrink": 10.0, "tree_balance": "regret", "tree_branching": 4, "tree_control": "none",
"tree_leaf_size": 30, "tree_max_share": 1.6, "tree_min_share": 0.4, "tree_terms": false, "warmup_epochs": 0}
""").items()
}


def make_teacher(flat: Mapping[str, Any], train_dataset: Dataset | None = None) -> Teacher:
    """The teacher that flat keys name; nothing is fitted or read yet.

    Args:
        flat: values by flat key, without `dtlns_`.
        train_dataset: RecBole's data set of the train split; only to fit `checkpoint` is it needed, for its ids.
    """
    if flat.get("teachers"):
        depth = Convening.Config.from_flat(flat).depth
        return Council({name: _make_one(name, flat, train_dataset) for name in flat["teachers"]}, depth)
    return _make_one(flat["teacher"], flat, train_dataset)


def _make_one(name: str, flat: Mapping[str, Any], train_dataset: Dataset | None) -> Teacher:
    if name in TEACHERS.names():
        return TEACHERS.make(name, flat)
    if name == _CHECKPOINT:
        return CheckpointTeacher(train_dataset, CheckpointTeacher.Config.from_flat(flat))
    return RecBoleTeacher(RecBoleTeacher.Config.from_flat({**flat, "teacher": name}))


def teacher_recipe(flat: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Version and inputs of the teacher that flat keys name; a checkpoint's content is not among them."""
    teacher = make_teacher(flat)
    return teacher.version, {"teacher": _CHECKPOINT} if isinstance(teacher, CheckpointTeacher) else teacher.inputs()


class RecBoleTeacher(Teacher):
    """Any RecBole general recommender, trained for a fixed number of epochs on the train pairs alone.

    The model gets a data set of its own, written from the canonical train pairs, so neither its ids nor its random
    numbers can depend on validation or test pairs.
    """

    Config = TrainedConfig
    config: TrainedConfig
    version = 2

    def inputs(self) -> dict[str, Any]:
        config = self._run_config(data_path=".")
        # Where files lie and what is printed does not change the result.
        incidental = ("data_path", "checkpoint_dir", "show_progress", "device", "gpu_id", "state", *OF_ONE_RUN)
        given = config.external_config_dict.keys()
        resolved = {
            key: value
            for key, value in config.plain().items()
            if key not in incidental and (key in given or not key.startswith(PREFIX))
        }
        return {"teacher": self.config.model, "config": {**_OWN_KEYS, **resolved}, "profile_users": _PROFILE_USERS}

    def fit(self, train: TrainInteractions) -> FittedTeacher:
        """Train, and read scores and item vectors off the model.

        Raises:
            ConfigError: no memory holds its vectors.
            DivergedError: its loss became NaN or infinite.
        """
        with tempfile.TemporaryDirectory(prefix="recbole_dtlns-teacher-") as folder, no_tensorboard(), quiet_recbole():
            _write_atomic_file(Path(folder) / "teacher" / "teacher.inter", train)
            config = self._run_config(folder)
            init_seed(config["seed"], config["reproducibility"])
            dataset = DTLNSDataset(config)
            dataset._change_feat_format()
            check_embeddings_fit(config, dataset)
            distribution = config["train_neg_sample_args"]["distribution"]
            sampler = Sampler("train", [dataset], distribution if distribution != "none" else "uniform")
            loader = get_dataloader(config, "train")(config, dataset, sampler.set_phase("train"), shuffle=True)
            model = make_model(config, dataset)
            base = get_trainer(config["MODEL_TYPE"], config["model"])
            trainer = type(f"Teacher{base.__name__}", (_StopsWhenDiverged, base), {})(config, model)
            logger.info("training the teacher %s for %d epochs", config["model"], config["epochs"])
            with reproducible_training(config):
                trainer.fit(loader, None, verbose=False, saved=False, show_progress=False)
            users = dataset.token2id(dataset.uid_field, [str(user) for user in range(train.n_users)])
            known = dataset.field2token_id[dataset.iid_field]
            # An item whose pairs were all hidden is not in the file; it gets the padding id, which scores -inf.
            items = np.array([known.get(str(item), 0) for item in range(train.n_items)])
            return ModelTeacher(trainer, dataset, users, items, self.config.dim)

    def _run_config(self, data_path: str) -> DTLNSConfig:
        return DTLNSConfig(
            self.config.model,
            "teacher",
            self.config.config_files,
            {
                "dtlns_preset": "off",
                "data_path": data_path,
                "checkpoint_dir": data_path,
                "load_col": {"inter": ["user_id", "item_id"]},
                "epochs": self.config.epochs,
                "seed": self.config.seed,
                "show_progress": False,
                "eval_step": 0,
                "worker": 0,
            },
        )


class _StopsWhenDiverged(StopsWhenDiverged):
    def _what_to_lower(self) -> str:
        return f"the teacher's {super()._what_to_lower()} in a file that dtlns_teacher_config_files names"


class CheckpointTeacher(Teacher):
    """A model that an earlier run of this package trained and saved.

    Args:
        train_dataset: RecBole's data set of the train split, whose ids the checkpoint must share; only `fit` needs it.
        config: as for any component.
    """

    Config = SavedConfig
    config: SavedConfig
    version = 2
    saved = True

    def __init__(self, train_dataset: Dataset | None, config: SavedConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        if self.config.checkpoint is None:
            raise ConfigError("dtlns_teacher: checkpoint needs dtlns_teacher_checkpoint, the path of a best.pth")
        self.path = Path(self.config.checkpoint)
        self.dataset: Any = train_dataset

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The content of the file.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        return Checkpoint.read(self.path)

    def inputs(self) -> dict[str, Any]:
        _ = self.checkpoint  # a file that is none of ours is named before its bytes are taken for one
        return {"teacher": _CHECKPOINT, "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest()}

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
        if origin.learnt_more:
            raise CheckpointError(
                f"{self.path} began with a model (init_from) that had learnt pairs which are not in this run's train "
                "part: they could be in validation or test. Train the teacher without init_from"
            )
        if origin.leaking:
            raise CheckpointError(f"{self.path} comes from a run of the leaking protocol 'authors'; it cannot teach")
        if origin.chosen_on_validation:
            logger.warning("the teacher %s had its epoch chosen on validation pairs; prefer a fixed epoch", self.path)
        # The GPU is chosen for the run that teaches now, not for the one that was saved.
        own_keys = {
            key: value
            for key, value in saved.config.items()
            if not key.startswith("dtlns_") and key not in ("gpu_id", "use_gpu", "resume_from", *OF_ONE_RUN)
        }
        own_keys |= {"dtlns_preset": "off", "data_path": ".", "checkpoint_dir": tempfile.gettempdir()}
        with no_tensorboard(), quiet_recbole():
            config = DTLNSConfig(saved.model, "teacher", config_dict=own_keys)
            model = make_model(config, self.dataset)
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
