"""Collaborative fine-tuning: a causal model learns to encode a query about a pair as one of its hard negatives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from recbole_dtlns.components import Component, ComponentConfig, Names, Seed
from recbole_dtlns.errors import ConfigError, DivergedError
from recbole_dtlns.generation.adapter_files import Checkpoints, trainable
from recbole_dtlns.generation.hard_items import HardItems
from recbole_dtlns.generation.in_batch_loss import in_batch_loss
from recbole_dtlns.llm.engine import optional_import
from recbole_dtlns.numerics.counter_random import counter_uniform
from recbole_dtlns.text.local_network import FINETUNE_INSTALL, LocalNetwork, Pooling, under_old_names

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class Rows:
    """What is learnt from.

    Attributes:
        query: gives the text that is encoded for a train pair, by its place in the order of `train.histories`.
        texts: of the items, with what stands before them, as the encoder of items is given them.
        positives: the item of every train pair, int64 [n_pairs].
        hard: the hard negatives of pairs.
    """

    query: Callable[[int], str]
    texts: Sequence[str]
    positives: np.ndarray
    hard: HardItems

    def digest(self) -> str:
        """SHA-256 over all of it."""
        digest = hashlib.sha256()
        for text in (*self.texts, *map(self.query, self.hard.pairs.tolist())):
            content = text.encode()
            digest.update(len(content).to_bytes(8, "little") + content)
        for draw in (0.0, 0.5, 0.99):
            digest.update(self.hard.draw(self.hard.pairs, np.full(len(self.hard.pairs), draw)).tobytes())
        digest.update(self.positives.tobytes())
        return digest.hexdigest()


class FineTuning(Component):
    """Trains a LoRA adapter (Hu et al., arXiv 2106.09685) of a causal model by HNLMRec's loss (arXiv 2504.05050).

    q_i is the pooled hidden state of a query about pair i, that of the text of one of its hard items is what it is
    drawn to, and those of the interacted items of the whole batch what it is kept away from. Queries and texts go
    through one model, with one pooling, which are those of generation. The published code cuts queries at 64 tokens,
    and pools otherwise in generation.

    A run that is stopped goes on from its last checkpoint, and ends as if it had not been stopped.
    """

    class Config(ComponentConfig):
        """How the adapter learns."""

        prefix = "finetune_"

        epochs: int = Field(5, ge=1)
        """finetune: epochs over the train pairs that have a hard negative."""
        max_steps: int | None = Field(None, ge=1)
        """finetune: stop after so many steps."""
        batch_size: int = Field(16, ge=2)
        """finetune: pairs in a step; each is compared with the interacted items of all."""
        learning_rate: float = Field(2e-5, gt=0)
        """finetune: of AdamW."""
        temperature: float = Field(0.05, gt=0)
        """finetune: divides the differences of cosines."""
        rank: int = Field(32, ge=1)
        """finetune: of the adapter's matrices (LoRA)."""
        alpha: float = Field(64.0, gt=0)
        """finetune: scale of the adapter; what it adds is multiplied by alpha / rank."""
        dropout: float = Field(0.05, ge=0, lt=1)
        """finetune: of what goes into the adapter."""
        targets: Names = Field(default_factory=list)
        """finetune: names of the layers that get an adapter; none: q_proj, k_proj, v_proj and o_proj where the model
        has them, else every linear layer."""
        precision: Literal["auto", "float32", "bfloat16"] = "auto"
        """finetune: of the products; auto: bfloat16 where the device has it, else float32."""
        gradient_checkpointing: bool = False
        """finetune: compute hidden states twice instead of keeping them: less memory, a third more time."""
        save_steps: int = Field(200, ge=1)
        """finetune: steps between checkpoints."""
        seed: Seed = 42

    config: Config

    def steps(self, n_pairs: int) -> int:
        """How many steps so many pairs take; a last batch of one pair is left out."""
        in_epoch = n_pairs // self.config.batch_size + (n_pairs % self.config.batch_size > 1)
        whole = in_epoch * self.config.epochs
        return whole if self.config.max_steps is None else min(whole, self.config.max_steps)

    def train(
        self,
        loaded: LocalNetwork,
        rows: Rows,
        pooling: Pooling,
        folder: Path,
        identity: dict[str, Any],
        progress: Callable[[int], object] = lambda steps: None,
    ) -> tuple[Any, list[float]]:
        """Train, or go on from the checkpoint in a folder.

        Args:
            loaded: the base, which is changed.
            rows: what is learnt from.
            pooling: of hidden states.
            folder: of the result; checkpoints stand in it.
            identity: plain data that, with settings and rows, tells this training from others.
            progress: called with the number of steps just done.

        Returns:
            the model with its adapter (peft's), and the loss of every step.

        Raises:
            InstallationError: `peft` is missing.
            ConfigError: the folder holds a checkpoint of another training, or `targets` names no layer.
            DivergedError: the loss became NaN or infinite; the last checkpoint stays.
            ArtefactError: a checkpoint cannot be written or read.
        """
        own = self.config
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(own.seed)
            network = self._adapted(loaded.network).to(device)
        tuned = LocalNetwork(network, loaded.tokenizer, loaded.context)
        optimizer = torch.optim.AdamW([one for _, one in trainable(network)], lr=own.learning_rate)
        place = Checkpoints(folder, {**identity, **self._identity(), "rows": rows.digest()})
        losses = place.restore(network, optimizer)
        progress(len(losses))
        network.train()
        total = self.steps(len(rows.hard.pairs))
        for step in range(len(losses), total):
            with _random_of(step, own.seed, device):
                loss = self._loss(tuned, rows, step, pooling, device)
            if not torch.isfinite(loss):
                raise DivergedError(
                    f"the loss of step {step + 1} is {loss.item()}: lower dtlns_finetune_learning_rate, or set "
                    "dtlns_finetune_precision: float32"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            progress(1)
            if (step + 1) % own.save_steps == 0 or step + 1 == total:
                place.keep(network, optimizer, losses)
        return network.eval(), losses

    def batch(self, n_pairs: int, step: int) -> np.ndarray:
        """Which of so many pairs a step looks at: every epoch in an order of its own, int64 [B]."""
        size = self.config.batch_size
        in_epoch = n_pairs // size + (n_pairs % size > 1)
        epoch, place = divmod(step, in_epoch)
        order = np.argsort(counter_uniform(self.config.seed, epoch, np.arange(n_pairs), 2)[:, 1], kind="stable")
        found: np.ndarray = order[place * size : (place + 1) * size]
        return found

    def _loss(self, tuned: LocalNetwork, rows: Rows, step: int, pooling: Pooling, device: torch.device) -> torch.Tensor:
        pairs = rows.hard.pairs[self.batch(len(rows.hard.pairs), step)]
        wanted = rows.hard.draw(pairs, counter_uniform(self.config.seed, step, pairs, 1)[:, 0])
        texts = [rows.query(pair) for pair in pairs.tolist()]
        items, place = np.unique(np.concatenate([wanted, rows.positives[pairs]]), return_inverse=True)
        texts += [rows.texts[item] for item in items.tolist()]  # each once
        encoded, _ = tuned.ids(texts)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._in_bfloat16(device)):
            vectors = tuned.vectors(encoded, pooling, device)
        query, of_items = vectors[: len(pairs)], vectors[len(pairs) :][torch.from_numpy(place).to(device)]
        return in_batch_loss(query, of_items[: len(pairs)], of_items[len(pairs) :], self.config.temperature)

    def _in_bfloat16(self, device: torch.device) -> bool:
        if self.config.precision == "auto":
            return device.type == "cuda" and torch.cuda.is_bf16_supported()
        return self.config.precision == "bfloat16"

    def _adapted(self, network: Any) -> Any:
        own, peft = self.config, optional_import("peft", "transformers", FINETUNE_INSTALL)
        names = {name.rpartition(".")[2] for name, _ in network.named_modules()}
        attention = [name for name in _ATTENTION if name in names]
        targets = own.targets or attention or "all-linear"
        if unknown := sorted(set(own.targets) - names):
            raise ConfigError(
                f"dtlns_finetune_targets names {', '.join(unknown)}, and the model has no such layer; it has "
                f"{', '.join(sorted(name for name in names if name and not name.isdigit()))}"
            )
        if own.gradient_checkpointing:
            with under_old_names():
                network.gradient_checkpointing_enable()
                network.enable_input_require_grads()
        lora = peft.LoraConfig(
            r=own.rank,
            lora_alpha=own.alpha,
            lora_dropout=own.dropout,
            target_modules=targets,
            task_type=peft.TaskType.FEATURE_EXTRACTION,
        )
        with under_old_names():
            return peft.get_peft_model(network, lora)

    def _identity(self) -> dict[str, Any]:
        """The settings that determine the result; where it stops and how often it is kept do not."""
        return self.config.model_dump(exclude={"save_steps", "epochs", "max_steps", "gradient_checkpointing"})


@contextmanager
def _random_of(step: int, seed: int, device: torch.device) -> Iterator[None]:
    """Dropout's draws follow from the step, so a training that goes on draws what it would have drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed << 20) + step)
        yield
