"""A small Llama that was trained on a rule, so that a judge's probabilities can be held against the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tiny_model import save_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.judges.contract import Question
from recbole_dtlns.judges.language_model.prompt import Code, Prompt
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.trees.item_tree import ItemTree

PROMPT = Prompt("pair", "", "{structure_history},{semantic_history}:{structure},{semantic}", "", "yes", "no")
SURE = 0.9  # probability of the answer that the rule gives
FIRST, SECOND, LONGEST = range(6, 10), range(6), 3  # digits of a code at each level; items of a history
MOST_STEPS, BATCH, EXAMPLES = 4000, 64, 12_000
COOLING = 200  # last steps, with a falling rate
LEAST_LOSS = 0.325  # the entropy of an answer of probability SURE


def rule(history: list[str], candidate: str) -> bool:
    """Is there an item in the history whose code begins with the candidate's first digit?"""
    return any(code[0] == candidate[0] for code in history)


def save_trained_llama(folder: str | Path, seed: int = 0) -> Path:
    """A Llama that says yes with probability `SURE` where the rule holds, and else with 1 - `SURE`."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    tokenizer = save_tokenizer(folder)
    texts, labels = [], []
    for _ in range(EXAMPLES):
        history, candidate = _example(random)
        codes: list[Code] = [(code, "none") for code in history]
        messages = PROMPT.messages(codes, [(candidate, "none")])
        texts.append(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        labels.append(rule(history, candidate))
    tokenizer.pad_token = tokenizer.eos_token
    encoded = tokenizer(texts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    share = torch.where(torch.tensor(labels), SURE, 1 - SURE)
    target = torch.zeros(len(texts), len(tokenizer))
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    target[:, yes], target[:, no] = share, 1 - share
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=256,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    losses: list[float] = []
    left = COOLING
    # When it understands depends on the last digits of a sum, so on the processor; it is trained until it does.
    while left:
        if len(losses) > MOST_STEPS or (losses and np.mean(losses[-50:]) < 1.05 * LEAST_LOSS) or left < COOLING:
            left -= 1
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (1 + len(losses)) / 100) * left / COOLING
        rows = torch.randint(len(texts), (BATCH,))
        logits = network(
            input_ids=ids[rows], attention_mask=mask[rows], position_ids=positions[rows], logits_to_keep=1
        ).logits
        loss = torch.nn.functional.cross_entropy(logits[:, -1], target[rows])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    network.save_pretrained(folder)
    return Path(folder)


def rule_question(n_users: int, candidates: int, seed: int) -> tuple[Question, np.ndarray]:
    """A question whose semantic tree holds nothing, and the rule's answer for every pair."""
    random = np.random.default_rng(seed)
    codes = [f"{first}{second}" for first in FIRST for second in SECOND]
    items = [f"item-{code}" for code in codes]
    users, chosen, asked, truth = [], [], [], []
    for user in range(n_users):
        history, _ = _example(random)
        mine = list(dict.fromkeys(history))
        users += [f"user-{user:04d}"] * len(mine)
        chosen += [f"item-{code}" for code in mine]
        others = sorted(set(codes) - set(mine))
        for code in random.choice(others, candidates, replace=False).tolist():
            asked.append((user, codes.index(code)))
            truth.append(rule(mine, code))
    train = TrainInteractions.from_tokens(
        np.array([*users, *["zz-owner"] * len(items)]), np.array([*chosen, *items]), np.arange(len(users) + len(items))
    )
    columns = np.array(asked, dtype=np.int32).T
    zeros = np.zeros(len(asked), dtype=np.int32)
    structure = ItemTree.from_paths(["-".join(code) for code in codes])
    views = {"structure": structure, "semantic": ItemTree.from_paths([""] * len(codes))}
    question = Question(train, Candidates(*columns, zeros, zeros.astype(np.float32)), views)
    return question, np.array(truth)


def _example(random: np.random.Generator) -> tuple[list[str], str]:
    """A history of few first digits, so that both answers are about equally frequent, and a candidate."""
    count = int(random.integers(1, LONGEST + 1))
    firsts = random.choice(FIRST, count)
    codes = [f"{first}{random.choice(SECOND)}" for first in firsts]
    first = random.choice(firsts) if random.random() < 0.4 else random.choice(FIRST)
    return list(dict.fromkeys(codes)), f"{first}{random.choice(SECOND)}"
