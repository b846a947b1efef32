"""Adapters on disk: what a training goes on from, and its result."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from recbole_dtlns.errors import ArtefactError, ConfigError
from recbole_dtlns.storage.folder import replacing_folder
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.text.adapter_record import FILE, QUERY_FILE, AdapterRecord
from recbole_dtlns.text.local_network import under_old_names

logger = logging.getLogger("recbole_dtlns")

_MOMENTS = ("exp_avg", "exp_avg_sq")
_CHECKPOINT, _STATE, _TENSORS = "checkpoint", "state.json", "training.safetensors"


class Checkpoints:
    """The state of a training in a folder, as a whole or not at all.

    Args:
        folder: of the result.
        identity: plain data that tells this training from others.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self._folder = folder / _CHECKPOINT
        self._identity = json.loads(json.dumps(identity))

    def keep(self, network: Any, optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
        """Keep adapter and optimizer, and the loss of every step so far.

        Raises:
            ArtefactError: they cannot be written.
        """
        named = dict(trainable(network))
        tensors = {f"weight|{name}": one.detach() for name, one in named.items()}
        for name, one in named.items():
            tensors |= {f"{moment}|{name}": optimizer.state[one][moment] for moment in _MOMENTS}
        state = {"identity": self._identity, "losses": losses}
        try:
            with replacing_folder(self._folder) as folder:
                save_file({name: one.contiguous().cpu() for name, one in tensors.items()}, folder / _TENSORS)
                (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise ArtefactError(
                f"cannot write the checkpoint {self._folder} ({error}): free space or permissions there, or name "
                "another place with --output"
            ) from error

    def restore(self, network: Any, optimizer: torch.optim.Optimizer) -> list[float]:
        """The losses so far; none where there is no checkpoint.

        Raises:
            ConfigError: it is of another training.
            ArtefactError: it is damaged.
        """
        if not (self._folder / _STATE).exists():
            return []
        try:
            state = json.loads((self._folder / _STATE).read_text(encoding="utf-8"))
            before, losses = state["identity"], [float(loss) for loss in state["losses"]]
            if before != self._identity:
                raise ConfigError(
                    f"{self._folder} is the checkpoint of another fine-tuning "
                    f"({', '.join(sorted(_differing(before, self._identity)))} differ): choose another --output, or "
                    "delete it"
                )
            tensors = load_file(self._folder / _TENSORS)
            for name, one in trainable(network):
                with torch.no_grad():
                    one.copy_(tensors[f"weight|{name}"])
                moments = {moment: tensors[f"{moment}|{name}"].to(one.device) for moment in _MOMENTS}
                optimizer.state[one] = {"step": torch.tensor(float(len(losses))), **moments}
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ArtefactError(
                f"the checkpoint {self._folder} is damaged ({error}): delete it to begin anew"
            ) from error
        logger.info("fine-tuning goes on after step %d", len(losses))
        return losses


def write_adapter(network: Any, tokenizer: Any, folder: Path, record: AdapterRecord, query: str) -> None:
    """Write an adapter with its tokenizer and, last, the record of its training.

    Args:
        network: peft's.
        tokenizer: of the base.
        folder: that gets the files.
        record: of the training; its base is what the adapter will be loaded onto.
        query: the prompt file of its queries.

    Raises:
        ArtefactError: it cannot be written.
    """
    try:
        network.peft_config["default"].base_model_name_or_path = record.base
        with under_old_names():
            network.save_pretrained(str(folder), safe_serialization=True)
        tokenizer.save_pretrained(str(folder))
        (folder / "README.md").unlink(missing_ok=True)  # peft's, which says nothing
    except OSError as error:
        raise ArtefactError(
            f"cannot write {folder} ({error}): free space or permissions there, or name another place with --output"
        ) from error
    write_file(folder / QUERY_FILE, query, "--output")
    write_file(folder / FILE, record.json(), "--output")


def trainable(network: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The weights of an adapter, by name."""
    yield from ((name, one) for name, one in network.named_parameters() if one.requires_grad)


def _differing(first: dict[str, Any], second: dict[str, Any]) -> set[str]:
    return {key for key in {*first, *second} if first.get(key) != second.get(key)}
