"""`recbole-dtlns train`."""

from __future__ import annotations

import argparse
from typing import Any

from recbole_dtlns.commands.command import Command, run_arguments


def _run(given: argparse.Namespace) -> int:
    from recbole_dtlns.bridge.runner import run_recbole_dtlns

    if given.refit is not None:
        given.settings.append(f"--refit={given.refit}")
    print(_result_table(run_recbole_dtlns(**run_arguments(given))))
    return 0


def _result_table(result: dict[str, Any]) -> str:
    """The metrics, a line each; every line of a leaking run says so, that none can be taken for a result.

    Validation and test of a run that refits are of two models, and the head says so.
    """
    refit = result.get("refit")
    valid, test = result["best_valid_result"] or {}, (refit or result)["test_result"] or {}
    head = ("metric", "valid (on train)", "test (refit)") if refit else ("metric", "valid", "test")
    mark = "LEAKING" if result["leaking"] else ""
    rows = [head, *((name, str(valid.get(name, "-")), str(test[name])) for name in test)]
    first, second, third = (
        max(least, *(len(cell) + 1 for cell in column))
        for least, column in zip((20, 8, 8), zip(*rows, strict=True), strict=True)
    )
    lines = [f"{name:<{first}} {valid:<{second}} {test:<{third}} {mark}".rstrip() for name, valid, test in rows]
    if refit:
        lines.append(f"refit on {refit['train_pairs']} pairs of train and validation, {refit['epochs']} epochs")
    return "\n".join([*lines, f"run folder: {result['run_folder']}"])


_KEYS = (
    """the commonest keys of RecBole
  data          data_path  load_col  user_inter_num_interval  item_inter_num_interval
  training      epochs  learning_rate  train_batch_size  embedding_size  stopping_step  seed
  evaluation    eval_args  metrics  topk  valid_metric  eval_batch_size
  run           checkpoint_dir  gpu_id  use_gpu  show_progress  resume_from  init_from""",
    """the commonest keys of recbole_dtlns
  start from    dtlns_preset (clean, best, rows, off)
  teacher       dtlns_teacher  dtlns_teachers  dtlns_candidates
  judge         dtlns_judge  dtlns_judge_threshold  dtlns_engine  dtlns_judge_model
  positives     dtlns_relabel_add  dtlns_relabel_weight  dtlns_relabel_top  dtlns_relabel_exclude
  negatives     dtlns_sampler  dtlns_n_candidates  dtlns_alpha_structure  dtlns_alpha_semantic  dtlns_pool
  loss          dtlns_loss  dtlns_loss_temperature
  item texts    dtlns_text_fields  dtlns_text_encoder

All dtlns_ keys: recbole-dtlns keys; those of a thing: recbole-dtlns keys WORD, such as judge""",
)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--refit",
        nargs="?",
        const="True",
        metavar="EPOCHS",
        help="once validation has chosen the epoch, train anew on train and validation for as many; or for EPOCHS",
    )


COMMAND = Command("prepare, train and evaluate one model", _run, _add_options, keys=_KEYS)
