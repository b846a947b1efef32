"""Input that no run can use, and what the message about it must name."""

from __future__ import annotations

import codecs
from pathlib import Path

import yaml

# As arguments of `train`, with what names the mistake.
BAD_ARGUMENTS: dict[str, str] = {
    "--epoch=3": "epochs",
    "--learning_rte=0.1": "learning_rate",
    "--dtlns_aplha_structure=1": "dtlns_alpha_structure",
    "--topk=[0]": "topk",
    "--topk=[]": "topk",
    "--topk=x": "topk",
    "--metrics=['Recal']": "Recal",
    "--valid_metric=5": "valid_metric",
    "--valid_metric=Recall@7": "valid_metric",
    "--seed=-1": "seed",
    "--seed=x": "seed",
    "--epochs=-3": "epochs",
    "--epochs=x": "epochs",
    "--learning_rate=fast": "learning_rate",
    "--learning_rate=-0.1": "learning_rate",
    "--learning_rate=nan": "learning_rate",
    "--learning_rate=1e999": "learning_rate",
    "--learning_rate=1e37": "learning_rate",
    "--embedding_size=-4": "embedding_size",
    "--embedding_size=x": "embedding_size",
    "--embedding_size=1000000000": "embedding_size is 1000000000: the vectors of",
    "--embedding_size=10000000000000000000": "embedding_size is 10000000000000000000: the vectors of",
    "--train_batch_size=0": "train_batch_size",
    "--train_batch_size=-5": "train_batch_size",
    "--eval_batch_size=x": "eval_batch_size",
    "--stopping_step=x": "stopping_step",
    "--eval_step=x": "eval_step",
    "--eval_args=5": "eval_args",
    "--eval_args={'split': {'RS': [1.1, -0.2, 0.1]}}": "split",
    "--eval_args={'split': {'RS': 'x'}}": "split",
    "--eval_args={'mode': 'most'}": "mode",
    "--load_col=7": "load_col",
    "--learner=x --weight_decay=x": "weight_decay",
    "--dtlns_relabel_weight=1e999": "dtlns_relabel_weight",
    "--dtlns_relabel_weight=nan": "dtlns_relabel_weight",
    "--dtlns_candidates=-1": "dtlns_candidates",
    "--dtlns_candidates=1e30": "dtlns_candidates",
    "--dtlns_alpha_structure=x": "dtlns_alpha_structure",
    "--dtlns_judge=nobody": "nobody",
    "--dtlns_preset=none": "preset 'none'",
    "--dtlns_cache_dir=a_file/below": "dtlns_cache_dir",
    "--checkpoint_dir=a_file/below": "checkpoint_dir",
    "--resume_from=nothing.pth": "nothing.pth",
    "--resume_from=a_file": "a_file",
    "--config_files=nothing.yaml": "nothing.yaml",
    "--dataset=nothing": "nothing",
    "--dataset=../nothing": "data_path",
    "--encoding=nothing": "encoding",
    "--valid_metric=recall": "valid_metric",
    "--model=BRP": "BPR",
    "--dtlns_structure_paths=a_file": "a_file",
    "--dtlns_judge=recorded --dtlns_judge_labels=a_file": "a_file",
    "--dtlns_candidates_file=a_file": "a_file",
}

_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{depth}: &a{depth} [{', '.join([f'*a{depth - 1}'] * 9)}]\n" for depth in range(1, 10)
)
# As the text of a config file, with what names the mistake.
BAD_CONFIG_FILES: dict[str, tuple[bytes, str]] = {
    "a key twice": (b"epochs: 1\nembedding_size: 8\nepochs: 2\n", "epochs"),
    "a number as key": (b"5: 1\n", "5"),
    "an alias bomb": (_BOMB.encode(), "bad.yaml"),
    "an alias of itself": (b"load_col: &a [*a]\n", "bad.yaml"),
    "a Python name": (b"epochs: !!python/name:os.system\n", "bad.yaml"),
    "a Python call": (b"epochs: !!python/object/apply:os.system ['touch called']\n", "bad.yaml"),
    "a list": (b"- epochs: 1\n", "bad.yaml"),
    "no yaml": (b"epochs: [1\n", "bad.yaml"),
    "a tab": (b"epochs:\n\t1\n", "bad.yaml"),
    "not text": (bytes(range(256)), "bad.yaml"),
    "zeros": (bytes(64), "bad.yaml"),
    "deeply nested": (b"epochs: " + b"[" * 20_000, "bad.yaml"),
    "infinity": (yaml.safe_dump({"dtlns_relabel_weight": float("inf")}).encode(), "dtlns_relabel_weight"),
}

# In place of the train pairs, with what the message must say.
_ROWS = b"".join(b"u%d\ti%d\n" % (user, item) for user in range(5) for item in range(5))
BAD_PAIRS: dict[str, tuple[bytes, str]] = {
    "no header": (_ROWS, "user_id:token"),
    "a header without types": (b"user_id\titem_id\n" + _ROWS, "user_id:token"),
    "commas": (b"user_id:token,item_id:token\n" + _ROWS.replace(b"\t", b","), "tiny.train.inter"),
    "a table of a shop": (b"customer,article,price\n" + _ROWS.replace(b"\t", b","), "tiny.train.inter"),
    "a header alone": (b"user_id:token\titem_id:token\n", "tiny.train.inter"),
    "an unknown type": (b"user_id:word\titem_id:token\n" + _ROWS, "tiny.train.inter"),
    "nothing": (b"", "tiny.train.inter"),
    "not text": (bytes(range(128, 256)) * 9, "tiny.train.inter"),
    "a stray quotation mark": (b'user_id:token\titem_id:token\n"u9\ti9\n' + _ROWS, "tiny.train.inter, line 2"),
    "two stray quotation marks": (b"user_id:token\titem_id:token\n" + _ROWS + b'u9\t"i9\nu8"\ti8\n', "line 27"),
    "UTF-16": (codecs.BOM_UTF16_LE + (b"user_id:token\titem_id:token\n" + _ROWS).decode().encode("utf-16-le"), "tiny"),
}

# Labels for `dtlns_judge: recorded`, with what the message must say.
BAD_LABELS: dict[str, tuple[str, str]] = {
    "two probabilities": ("user_id\titem_id\tprobability\nu0-00\ti0-00\t0.1\nu0-00\ti0-00\t0.9\n", "bad.tsv, line 3"),
    "no probability": ("user_id\titem_id\tprobability\nu0-00\ti0-00\tx\n", "bad.tsv"),
    "a probability of 7": ("user_id\titem_id\tprobability\nu0-00\ti0-00\t7\n", "bad.tsv"),
    "an infinite probability": ("user_id\titem_id\tprobability\nu0-00\ti0-00\tinf\n", "bad.tsv"),
    "no such columns": ("user\titem\n1\t2\n", "bad.tsv"),
    "empty": ("", "bad.tsv"),
}


def write_bad(name: str, content: bytes | str) -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name
