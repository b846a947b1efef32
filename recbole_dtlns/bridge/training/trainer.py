"""RecBole's trainers with chosen negatives and checkpoints that resume exactly."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from recbole import trainer as trainers
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import get_trainer
from torch.nn.utils import clip_grad_norm_

from recbole_dtlns.bridge.data.dataloader import DTLNSTrainDataLoader, EpochDataLoader
from recbole_dtlns.bridge.data.knowledge_loader import KnowledgeDataLoader, order_state, row_loader, set_order_state
from recbole_dtlns.bridge.data.user_loader import UserDataLoader
from recbole_dtlns.bridge.models.kinds import capability, kind_of
from recbole_dtlns.bridge.models.list_loss import ListObjective, ListStep
from recbole_dtlns.bridge.models.scoring import PastModels
from recbole_dtlns.bridge.models.softmax_loss import SoftmaxObjective, SoftmaxStep
from recbole_dtlns.bridge.models.sparse_gradients import LEARNER
from recbole_dtlns.bridge.training.divergence import StopsWhenDiverged
from recbole_dtlns.bridge.training.halves import StepBesideFacts, StepsOfRows
from recbole_dtlns.bridge.training.ranked_lists import RankingCollector
from recbole_dtlns.bridge.training.shared_step import SharedStep
from recbole_dtlns.bridge.training.training_step import LossFunction, Sampling, TrainingStep
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import CheckpointError, ContractError
from recbole_dtlns.evaluation.rankings import Rankings
from recbole_dtlns.training.averaged_weights import AveragedWeights, restore_weights
from recbole_dtlns.training.checkpoint import BEST, LAST, Checkpoint, Epoch, Provenance, RandomState
from recbole_dtlns.training.learning_rate import set_learning_rates
from recbole_dtlns.training.processes import Processes
from recbole_dtlns.training.reproducibility import reproducible_training
from recbole_dtlns.training.resume import check_same_run, find_interrupted
from recbole_dtlns.training.sparse_products import FastSparseProducts, WholeSparseProducts, holds_sparse_matrices

logger = logging.getLogger("recbole_dtlns")

VERSION = 2  # of training; raise it when the same settings, data and preparation give another model
LEARNT_BY_SAMPLER = "dtlns_sampler"


class DTLNSTrainerMixin(StopsWhenDiverged):
    """Put in front of RecBole's trainer class for a model, keeping that class's own ways.

    Attributes:
        run_folder: where `best.pth` (best validation score) and `last.pth` (latest evaluation) are written.
        sampling: how negatives are chosen.
        provenance: what the model learns from, written into every checkpoint.
        curve: the epochs so far.
        latest_result: metrics of the latest evaluation on validation.
    """

    def __init__(
        self,
        config: Any,
        model: AbstractRecommender,
        run_folder: Path,
        sampling: Sampling,
        provenance: Provenance,
        stop_after: int | None = None,
    ) -> None:
        super().__init__(config, model)
        self._scheduled_epochs: int = self.epochs
        if stop_after is not None:
            self.epochs: int = min(stop_after, self._scheduled_epochs)
        self.run_folder, self.sampling, self.provenance = run_folder, sampling, provenance
        self.saved_model_file = str(run_folder / BEST)
        self.eval_collector = RankingCollector(config)
        self.curve: list[Epoch] = []
        self.latest_result: dict[str, float] | None = None
        self._past: PastModels | None = None
        self._past_state: Sequence[dict[str, Any]] = ()
        self._loader_state: torch.Tensor | None = None
        decay = config.settings.average_weights
        self._averages = AveragedWeights(model, decay) if decay else None
        self._hooked_optimizers: set[int] = set()
        self._processes: Processes = config.processes
        self._shared_before = False
        if self._processes.several:
            self.clip_grad_norm = None  # RecBole would clip before the gradients are averaged
        self._batch, self._batches = 0, 0

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Train as RecBole does, and write `last.pth` after every evaluation.

        Raises:
            DivergedError: the loss became NaN or infinite.
        """
        self._train_data = train_data
        chosen = self.provenance.refit or (bool(valid_data) and self.eval_step > 0)
        self.provenance = replace(self.provenance, chosen_on_validation=chosen)
        if self._loader_state is not None:
            set_order_state(train_data, self._loader_state)

        def after_evaluation(epoch: int, score: float) -> None:
            if saved:
                self._save_state(epoch, self.run_folder / LAST, self.best_valid_result)
            if callback_fn is not None:
                callback_fn(epoch, score)

        # RecBole never closes TensorBoard's writer, which is a thread and an open file.
        with closing(self.tensorboard), quiet_recbole(), reproducible_training(self.config):
            best = super().fit(train_data, valid_data, verbose, saved, show_progress, after_evaluation)
        if saved and not Path(self.saved_model_file).exists():  # there was no epoch, or none that RecBole saves
            epoch = max(self.train_loss_dict, default=self.start_epoch - 1)
            self._save_state(epoch, Path(self.saved_model_file), self.best_valid_result)
        self._processes.wait()  # until what others read next is written
        return best

    def _what_to_lower(self) -> str:
        settings = self.config.settings
        also = f" or dtlns_relabel_weight (now {settings.relabel_weight:g})"
        return super()._what_to_lower() + (also if settings.relabel_add and settings.relabel_weight > 1 else "")

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        if self.config.settings.sparse_gradients:
            kwargs["learner"] = LEARNER
        optimizer = super()._build_optimizer(**kwargs)
        if self.config.settings.fast and type(optimizer) is torch.optim.Adam:
            # The same steps in one pass over the weights instead of ten.
            kept = ("params", "lr", "betas", "eps", "weight_decay", "amsgrad")
            groups = [{key: group[key] for key in kept} for group in optimizer.param_groups]
            optimizer = torch.optim.Adam(groups, fused=True)
        return optimizer

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: LossFunction | None = None, show_progress: bool = False
    ) -> Any:
        self._prepare_optimizers(epoch_idx)
        began = time.perf_counter()
        with self._sparse_products():
            if isinstance(row_loader(train_data), EpochDataLoader):
                loss = self._train_epoch_of_ours(train_data, epoch_idx, loss_func, show_progress)
            else:
                loss = super()._train_epoch(
                    train_data, epoch_idx, self._of_recbole(train_data, loss_func), show_progress
                )
        total = float(sum(loss) if isinstance(loss, tuple) else loss)
        self.curve.append(Epoch(epoch_idx, time.perf_counter() - began, total))
        return loss

    def _sparse_products(self) -> AbstractContextManager[Any]:
        """How this model multiplies by the sparse matrices that it holds."""
        if not holds_sparse_matrices(self.model):
            return nullcontext()
        if self.config.settings.fast:
            return FastSparseProducts()
        return WholeSparseProducts() if self.config["enable_amp"] else nullcontext()

    def _prepare_optimizers(self, epoch: int) -> None:
        """Set the rates of an epoch, and let every step be shared and averaged; some trainers make optimizers as they
        go."""
        optimizers = self._optimizers().values()
        set_learning_rates(optimizers, self.config.settings.learning_rate_decay, epoch, self._scheduled_epochs)
        for optimizer in optimizers:
            if id(optimizer) in self._hooked_optimizers:
                continue
            self._hooked_optimizers.add(id(optimizer))
            if self._processes.several:
                optimizer.register_step_pre_hook(self._average_gradients)
            if self._averages is not None:
                optimizer.register_step_post_hook(self._averages.add)

    def _average_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Before a step of several processes: the mean of their gradients, then clipped as RecBole would have it."""
        self._processes.average_gradients(one for group in optimizer.param_groups for one in group["params"])
        if self.config["clip_grad_norm"]:
            clip_grad_norm_(self.model.parameters(), **self.config["clip_grad_norm"])

    def _of_recbole(self, train_data: Any, loss_func: LossFunction | None) -> LossFunction | None:
        """The loss of a batch as RecBole's loaders make them."""
        if not self._processes.several:
            return loss_func
        loss: LossFunction = loss_func or self.model.calculate_loss
        return self._shared(train_data, lambda: loss)

    def _shared(self, train_data: Any, make: Callable[[], LossFunction]) -> LossFunction:
        """A step that the run's processes share."""
        step = SharedStep(self.model, train_data, self._processes, make, checked=self._shared_before)
        self._shared_before = True
        return step

    def _train_epoch_of_ours(
        self, train_data: Any, epoch: int, loss_func: LossFunction | None, show_progress: bool
    ) -> Any:
        rows, sampler = row_loader(train_data), self.sampling.sampler
        rows.set_epoch(epoch)
        if isinstance(train_data, KnowledgeDataLoader):
            self.step_of_rows = partial(self._step_beside_facts, train_data)
            loss = super()._train_epoch(train_data, epoch, None, show_progress)
        else:
            loss_function: LossFunction = loss_func or self.model.calculate_loss
            if self._processes.several:
                step = self._shared(rows, lambda: self._step(rows, loss_function))
            else:
                step = self._step(rows, loss_function)
            loss = super()._train_epoch(train_data, epoch, step, show_progress)
        if self._past is not None:
            self._past.remember()
        facts = self._processes.of_all(sampler.facts() if sampler else {})
        for what in facts[0]:
            share = sum(of_one.get(what, 0.0) for of_one in facts) / len(facts)
            self.logger.info("epoch %d %s: %.1f%%", epoch, what, 100 * share)
        return loss

    def _step_beside_facts(self, train_data: KnowledgeDataLoader, loss_function: LossFunction) -> LossFunction:
        """The loss of a batch of rows, or of rows and facts."""
        make_step = partial(self._step, row_loader(train_data))
        one_mean = capability(type(self.model)).one_mean
        return StepBesideFacts(make_step, loss_function, train_data.fields_of_facts, one_mean)

    def _step(self, train_data: EpochDataLoader, loss_function: LossFunction) -> LossFunction:
        """The loss of a batch as this loader makes them."""
        sampler, objective = self.sampling.sampler, self.sampling.objective
        if isinstance(train_data, UserDataLoader) and isinstance(objective, ListObjective):
            return ListStep(self.model, train_data, objective, loss_function)
        if isinstance(objective, SoftmaxObjective):
            return SoftmaxStep(self.model, train_data, objective, loss_function)
        if not isinstance(train_data, DTLNSTrainDataLoader):
            raise ContractError(f"nothing is minimised over the batches of a {type(train_data).__name__}")
        if sampler is not None and sampler.past_epochs and self._past is None:
            self._past = PastModels(self.model, train_data, sampler.past_epochs)
            self._past.load(self._past_state)
        return TrainingStep(self.model, train_data, self.sampling, loss_function, self._past)

    def _valid_epoch(self, valid_data: Any, show_progress: bool = False) -> tuple[float, dict[str, float]]:
        score, self.latest_result = super()._valid_epoch(valid_data, show_progress)
        if self.curve:
            valid = {name: float(value) for name, value in self.latest_result.items()}
            self.curve[-1] = replace(self.curve[-1], valid=valid)
        return score, self.latest_result

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Any) -> None:
        if epoch < 0:  # RecBole's way of saying that no epoch is left to train; the best checkpoint stays
            return
        path = Path(kwargs.get("saved_model_file") or self.saved_model_file)
        if self.provenance.refit:  # it is whole after its last epoch, and not before
            path = self.run_folder / LAST
        # RecBole updates best_valid_result only after saving; what is saved as the best is the latest result.
        self._save_state(epoch, path, self.latest_result)
        if verbose:
            self.logger.info("Saving current: %s", path)

    def save_pretrained_model(self, epoch: int, saved_model_file: str) -> None:
        """Write a step of pretraining (RaCT) into the run folder, for `pre_model_path`, and as what is evaluated."""
        for path in (self.run_folder / Path(saved_model_file).name, Path(self.saved_model_file)):
            self._save_state(epoch, path, None)

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """By attribute. RecVAE has two, and `optimizer` is the one in use."""
        found = {name: value for name, value in vars(self).items() if isinstance(value, torch.optim.Optimizer)}
        others = [value for name, value in found.items() if name != "optimizer"]
        if any(value is self.optimizer for value in others):
            del found["optimizer"]
        return found

    def _save_state(self, epoch: int, path: Path, best_result: dict[str, float] | None) -> None:
        if not self._processes.first:
            return
        sampler = self.sampling.sampler
        averaged = self._averages.state() if self._averages else {}
        with self._averages.in_place() if self._averages else nullcontext():
            weights = self.model.state_dict()
        Checkpoint(
            provenance=self.provenance,
            model=self.config["model"],
            config=self.config.plain(),
            epoch=epoch,
            cur_step=self.cur_step,
            best_valid_score=float(self.best_valid_score),
            best_valid_result=dict(best_result or {}),
            curve=self.curve,
            state_dict=weights,
            other_parameter=self.model.other_parameter(),
            optimizers={name: value.state_dict() for name, value in self._optimizers().items()},
            random=RandomState.taken(),
            loader=order_state(self._train_data),
            sampler=sampler.state_dict() if sampler else {},
            past=self._past.state() if self._past else [],
            averaged=averaged,
        ).write(path)

    def resume_checkpoint(self, resume_file: str | Path) -> None:
        """Continue from a run folder's `last.pth` or `best.pth`, or from the folder itself (its latest checkpoint).

        Epochs done before and after add up to the same result as one run without interruption. The best model so far
        is carried into this run's folder; the folder resumed from is not written to.

        Where that run was ended before it had saved anything, this one starts at the beginning.

        Raises:
            CheckpointError: a file is missing or damaged, or belongs to another model or other train pairs.
        """
        found = find_interrupted(resume_file, self.device)
        if found is None:
            return
        check_same_run(found, self.config, self.provenance)
        path, state = found.path, found.state
        try:
            self.model.load_state_dict(state.state_dict)
            self._go_on_from(state.averaged)
            for name, saved in state.optimizers.items():
                getattr(self, name).load_state_dict(saved)
        except (RuntimeError, ValueError, AttributeError, KeyError) as error:
            raise CheckpointError(f"{path} does not fit the configured {self.config['model']}: {error}") from error
        self.model.load_other_parameter(state.other_parameter)
        self.start_epoch = state.epoch + 1
        self.cur_step = state.cur_step
        self.best_valid_score = state.best_valid_score
        self.best_valid_result = state.best_valid_result or None
        self.curve = state.curve
        state.random.restore()
        self._loader_state = state.loader.cpu()
        if self.sampling.sampler is not None:
            self.sampling.sampler.load_state_dict(state.sampler)
        self._past_state = state.past
        if self._processes.first:
            (found.best or state).write(Path(self.saved_model_file) if found.best else self.run_folder / path.name)
        if self.cur_step > self.stopping_step:
            logger.info("the run resumed from had stopped early; nothing is left to train")
            self.start_epoch = self.epochs
        elif self.start_epoch >= self.epochs:
            logger.info("epochs is %d, and the run resumed from had as many; nothing is left to train", self.epochs)
        logger.info("resuming from %s at epoch %d", path, self.start_epoch)

    def _go_on_from(self, averaged: dict[str, Any]) -> None:
        """Where the model was given averages as its weights, give it back those that training goes on from."""
        if self._averages is not None and averaged:
            self._averages.load(averaged)
        elif self._averages is not None:  # they begin here
            self._averages = AveragedWeights(self.model, self.config.settings.average_weights)
        elif averaged:
            restore_weights(self.model, averaged)

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | Path | None = None,
        show_progress: bool = False,
    ) -> Any:
        """Evaluate as RecBole does; the best model is read from our own checkpoint."""
        self._batch, self._batches = 0, len(eval_data) if eval_data else 0
        if load_best_model and eval_data:
            state = Checkpoint.read(model_file or self.saved_model_file, self.device)
            self.model.load_state_dict(state.state_dict)
            self.model.load_other_parameter(state.other_parameter)
            self._averages = None  # the model has what it is evaluated with
        with quiet_recbole(), self._averages.in_place() if self._averages else nullcontext():
            return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        return super()._full_sort_batch_eval(batched_data) if self._takes_next_batch() else (None,) * 4

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        return super()._neg_sample_batch_eval(batched_data) if self._takes_next_batch() else (None,) * 4

    def _takes_next_batch(self) -> bool:
        """Whether the batch of the evaluation that is due is this process's to score."""
        self._batch += 1
        return not self._processes.several or self._processes.takes(self._batch - 1, self._batches)

    def rank(self, eval_data: Any, depth: int, load_best_model: bool = True) -> Rankings:
        """The items recommended to every user of a part of the data, in RecBole's ids, under RecBole's mask.

        Args:
            eval_data: a loader that ranks all items.
            depth: how many per user.
            load_best_model: whether to read the best model from its checkpoint first.
        """
        self.eval_collector.depth = depth
        try:
            self.evaluate(eval_data, load_best_model)
            return self.eval_collector.rankings()
        finally:
            self.eval_collector.depth = 0


def build_trainer(
    config: Any,
    model: AbstractRecommender,
    run_folder: Path,
    sampling: Sampling,
    provenance: Provenance,
    stop_after: int | None = None,
) -> DTLNSTrainerMixin:
    """RecBole's trainer for this model, with ours in front.

    Args:
        config: the run's configuration.
        model: the model, on its device.
        run_folder: where checkpoints go.
        sampling: how negatives are chosen.
        provenance: written into every checkpoint.
        stop_after: how many epochs are trained, where these are less than the schedules go by.
    """
    if sampling.sampler is not None and sampling.sampler.module is not None:
        model.add_module(LEARNT_BY_SAMPLER, sampling.sampler.module)  # trained and saved with the model
    base = _recboles_trainer(config, type(model))
    # RecBole's own list of what a checkpoint keeps beside the weights; several of its models leave it short.
    able = capability(type(model))
    kept = [*getattr(model, "other_parameter_name", ()), *able.state]
    modules = {name for name, _ in model.named_children()}  # DIN lists one, whose weights are among the model's
    model.other_parameter_name = [
        name for name in dict.fromkeys(kept) if name not in modules and name not in able.remade
    ]
    behind = (StepsOfRows,) if kind_of(type(model)).reads_facts else ()
    made = type(f"DTLNS{base.__name__}", (DTLNSTrainerMixin, base, *behind), {})
    return made(config, model, run_folder, sampling, provenance, stop_after)


def _recboles_trainer(config: Any, model_class: type) -> type:
    """RecBole's for the class or the nearest that it inherits from, found by their names, or for its kind."""
    names = [f"{base.__name__}Trainer" for base in model_class.__mro__]
    of_class = next((getattr(trainers, name) for name in names if hasattr(trainers, name)), None)
    return of_class or get_trainer(config["MODEL_TYPE"], config["model"])
