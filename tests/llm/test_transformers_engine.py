"""Local models: the probabilities are the model's own, whatever the batch, the context and the chat template."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llm_judges import llm_judge
from questions import random_question
from tiny_model import save_random_llama, save_tokenizer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from trained_model import PROMPT, SURE, rule_question, save_trained_llama
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from recbole_dtlns.errors import EngineError
from recbole_dtlns.judges.contract import Label
from recbole_dtlns.judges.language_model.answers import Reason
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.language_model.requests import Inquiry
from recbole_dtlns.llm.chat_model import ChatTokenizer, model_revision
from recbole_dtlns.llm.reply import NoReply, Reply, probabilities
from recbole_dtlns.llm.request import OneOf, Request
from recbole_dtlns.llm.transformers_engine import TransformersEngine

SHORT = Prompt("pair", "", "A {structure_history} B {semantic_history}: {structure} {semantic}", "", "yes", "no")
LIST = Prompt(
    "user", "", "{structure_history},{semantic_history}\n{candidates}", "{number}: {structure} {semantic}", "", ""
)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained once for all tests, on one thread so that it is the same everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return save_trained_llama(tmp_path_factory.mktemp("trained"))
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def llama() -> Path:
    return save_random_llama("llama")


def on_cpu(folder: str | Path, **named: Any) -> TransformersEngine:
    engine = TransformersEngine(model=str(folder), **named)
    engine.device = "cpu"
    return engine


def request(history: int, candidate: str = "01", prompt: Prompt = SHORT, candidates: int = 1) -> Request:
    """One request whose history counts up: 10, 11, 12 ... in tree A, nothing in tree B."""
    codes = tuple((str(10 + number), "none") for number in range(history))
    return Inquiry(prompt, codes, ((candidate, "none"),) * candidates, (bytes(16),) * candidates).request()


def ask(folder: Path, requests: list[Request], **named: Any) -> tuple[list[Reply], Any]:
    """The replies in the order of the requests, and the engine that gave them."""
    with on_cpu(folder, **named).start() as running:
        replies = dict(running.answer(requests))
    assert sorted(replies) == list(range(len(requests)))
    return [replies[position] for position in range(len(requests))], running


# ---------------------------------------------------------------- a model whose answers are known


def test_a_trained_model_is_read_right(trained: Path) -> None:
    """The judge's probabilities are the ones that the model was trained to give, and its labels the rule's."""
    question, truth = rule_question(n_users=100, candidates=6, seed=1)
    verdicts = llm_judge(on_cpu(trained), PROMPT).judge(question)
    assert 0.2 < truth.mean() < 0.6
    assert verdicts.abstained == {}
    yes, no = verdicts.probability[truth], verdicts.probability[~truth]
    auc = (yes[:, None] > no[None, :]).mean()
    assert auc > 0.99
    assert ((verdicts.label == Label.POSITIVE) == truth).mean() > 0.98
    assert yes.mean() == pytest.approx(SURE, abs=0.03)
    assert no.mean() == pytest.approx(1 - SURE, abs=0.03)


def test_the_answers_may_be_turned_round(trained: Path) -> None:
    """With the answers exchanged in the prompt file the probability is that of the other one."""
    question, truth = rule_question(n_users=10, candidates=6, seed=2)
    turned = Prompt("pair", "", PROMPT.user, "", "no", "yes")
    verdicts = llm_judge(on_cpu(trained), turned).judge(question)
    assert ((verdicts.label == Label.NEGATIVE) == truth).mean() > 0.95


def test_a_folder_is_one_model_from_wherever_it_is_named(llama: Path) -> None:
    """Verdicts asked for with a relative path are found by a cell or trial, which names the whole one; names stay."""
    names = (str(llama), str(llama.resolve()), f"./{llama}")
    stores = {llm_judge(TransformersEngine(model=name), SHORT).store().folder for name in names}
    assert len(stores) == 1
    assert TransformersEngine(model="org/model").model == "org/model"


def test_a_model_trained_further_has_verdicts_of_its_own(trained: Path) -> None:
    """One changed weight or template is another model; the same files elsewhere are the same one."""
    shutil.copytree(trained, "copy")
    assert model_revision("copy", None) == model_revision(str(trained), None)
    network = LlamaForCausalLM.from_pretrained("copy")
    with torch.no_grad():
        network.model.norm.weight[0] += 1e-3
    network.save_pretrained("copy")
    changed = model_revision("copy", None)
    assert changed != model_revision(str(trained), None)
    tokenizer = save_tokenizer("copy")
    tokenizer.chat_template += " "
    tokenizer.save_pretrained("copy")
    assert model_revision("copy", None) != changed
    assert model_revision("some/name", "main") == "main"


# ---------------------------------------------------------------- batches


def test_padding_changes_nothing(llama: Path) -> None:
    """Prompts of many lengths in one batch, small ones, or one by one: the same probabilities, in the right order."""
    requests = [request(history, str(history)) for history in (9, 0, 5, 1, 12, 30, 3, 3)]
    alone, _ = ask(llama, requests, batch_size=1)
    for size in (2, 3, 32):
        together, _ = ask(llama, requests, batch_size=size)
        np.testing.assert_allclose(
            [reply.probabilities[0] for reply in together], [reply.probabilities[0] for reply in alone], atol=1e-5
        )
        assert [reply.tokens for reply in together] == [reply.tokens for reply in alone]
    assert len({round(reply.probabilities[0], 4) for reply in alone}) == len(requests) - 1, "only 3 comes twice"


def test_the_probability_is_that_of_the_next_token(llama: Path) -> None:
    """Known answer: the two logits after the prompt, of a plain forward pass."""
    asked = request(4)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(llama)
    text = tokenizer.apply_chat_template(asked.messages, tokenize=False, add_generation_prompt=True)
    assert text == "<s><|user|>A 10 11 12 13 B none: 01 none<|end|><|assistant|>"
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = LlamaForCausalLM.from_pretrained(llama)(ids).logits[0, -1]
    yes, no = logits[tokenizer.convert_tokens_to_ids(["yes", "no"])].tolist()
    ((reply,), running) = ask(llama, [asked])
    assert reply.probabilities == pytest.approx(probabilities([yes, no]), abs=1e-5)
    assert reply.tokens == ids.shape[1]
    assert running.mode == "log-probabilities"


def test_a_list_is_written_the_same_in_every_batch(llama: Path) -> None:
    """Shape `user`: text, and equal to what the model writes for each prompt alone."""
    requests = [request(history, prompt=LIST, candidates=2) for history in (4, 0, 7)]
    alone, running = ask(llama, requests, batch_size=1)
    together, _ = ask(llama, requests, batch_size=3)
    assert running.mode == "text"
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert all(reply.text and "<|" not in reply.text for reply in alone)


# ---------------------------------------------------------------- context


def test_the_oldest_items_are_left_out_when_the_context_is_short() -> None:
    """As many of the newest as fit, not one fewer; nothing is cut inside a prompt."""
    tokenizer = save_tokenizer("tokenizer")
    asked = request(12)
    whole = len(ChatTokenizer(tokenizer).ids(asked))
    least = len(ChatTokenizer(tokenizer)._encode(asked.shorter[0]))
    shown = []
    for context in range(least - 2, whole + 2):
        ids, cut = ChatTokenizer(tokenizer, context).encode_all([asked])[0]
        assert cut == (context < whole)
        if ids is None:
            assert context < least
            continue
        assert least <= context
        assert len(ids) <= context
        text = tokenizer.decode(ids)
        newest = [code for code in text.split("B")[0].split(" ") if code.isdigit()]
        assert newest == [str(10 + number) for number in range(12 - len(newest), 12)]
        assert text.endswith("B none: 01 none<|end|><|assistant|>")
        if cut:
            one_more = ChatTokenizer(tokenizer)._encode([*asked.shorter, asked.messages][len(newest) + 1])
            assert len(one_more) > context
        shown.append(len(newest))
    assert shown == sorted(shown)
    assert set(shown) == set(range(13))


def test_short_contexts_are_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """A prompt that lost items is counted; one that is too long even without any is an abstention for good."""
    folder = save_random_llama("short", context=34)
    replies, running = ask(folder, [request(2), request(12), request(20), request(3, candidate="0.1.2." * 10)])
    assert [reply.reason for reply in replies] == [None] * 3 + [NoReply.TOO_LONG]
    assert running.truncated == 2
    assert replies[3].lasting
    assert max(reply.tokens for reply in replies) <= 34
    question = random_question(n_users=8, history=9)
    with caplog.at_level(logging.WARNING, "recbole_dtlns"):
        verdicts = llm_judge(on_cpu(folder), SHORT).judge(question)
    assert verdicts.facts["truncated"] == 32
    assert "32 prompts lost their oldest items: the model's context is too short" in caplog.text
    tiny = save_random_llama("tiny", context=10)
    limits = {"max_abstain_rate": 1.0}
    verdicts = llm_judge(on_cpu(tiny), SHORT, **limits).judge(question)
    assert verdicts.abstained == {Reason.TOO_LONG.sentence: 32}
    assert verdicts.facts["truncated"] == 0, "nothing was shown without its oldest items"


def test_the_answer_has_room_in_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shape `user`: what is written must fit behind the prompt, or the model runs past what it was made for."""
    folder = save_random_llama("short", context=60)
    used = []
    generate = LlamaForCausalLM.generate

    def watched(self: Any, input_ids: torch.Tensor, max_new_tokens: int, **named: Any) -> Any:
        used.append(input_ids.shape[1] + max_new_tokens)
        return generate(self, input_ids=input_ids, max_new_tokens=max_new_tokens, **named)

    monkeypatch.setattr(LlamaForCausalLM, "generate", watched)
    _, running = ask(folder, [request(history, prompt=LIST, candidates=2) for history in (1, 12)], batch_size=1)
    assert running.truncated == 1
    assert max(used) <= 60


# ---------------------------------------------------------------- templates and tokens


def test_answers_that_begin_with_the_same_token_are_refused(llama: Path) -> None:
    """Their probabilities could not be told apart."""
    prompt = Prompt("pair", "", SHORT.user, "", "yes please", "yes no")
    with pytest.raises(EngineError, match=r"'yes please' and 'yes no' begin with the same token .* choose others"):
        ask(llama, [request(2, prompt=prompt)])


def test_a_template_without_a_system_role_gets_one_message() -> None:
    """Some templates raise an error at it: the system message then opens the user's."""
    tokenizer = save_tokenizer("tokenizer")
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + tokenizer.chat_template
    )
    chat = ChatTokenizer(tokenizer)
    for _ in range(2):
        asked = request(2, prompt=Prompt.load("pair"))
        text = tokenizer.decode(chat.ids(asked))
        assert text.startswith("<s><|user|>Items are leaves of two trees")
        assert text.endswith("A: 10 11\nB: none\nCandidate: A 01 B none<|end|><|assistant|>")
        assert "<|system|>" not in text


def test_a_template_that_refuses_everything_is_an_error() -> None:
    """An error of the template's own is not mistaken for a missing role."""
    tokenizer = save_tokenizer("tokenizer")
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(Exception, match="never"):
        ChatTokenizer(tokenizer).ids(request(2))


def test_a_model_does_not_think_aloud() -> None:
    """The token after the prompt must be the answer's; whoever wants thinking can ask for it."""
    tokenizer = save_tokenizer("tokenizer")
    tokenizer.chat_template += "{% if enable_thinking is not defined or enable_thinking %}yes{% endif %}"
    assert tokenizer.decode(ChatTokenizer(tokenizer).ids(request(1))).endswith("<|assistant|>")
    thinking = ChatTokenizer(tokenizer, None, {"enable_thinking": True})
    assert tokenizer.decode(thinking.ids(request(1))).endswith("<|assistant|>yes")


def test_a_model_without_a_template_is_asked_in_plain_text() -> None:
    """The beginning-of-text token is added once, and the label tokens are the answers' own even where they merge."""
    words = ["<unk>", "<s>", " yes", " no", "yes", "no", " ", "A", "B", ":", "none", "\n", "Answer", *"0123456789"]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r" yes| no\b|[A-Za-z]+|\d|\s|[^\sA-Za-z\d]"), "isolated")
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>")
    chat = ChatTokenizer(tokenizer)
    ids = chat.ids(request(2))
    assert ids[0] == 1
    assert 1 not in ids[1:]
    assert [words[each] for each in chat.first_tokens(request(2), OneOf(("yes", "no")))] == ["yes", "no"]


def test_what_cannot_be_loaded_is_named(llama: Path) -> None:
    """No tokenizer, no weights, a wrong argument: plain errors with the model's name."""
    Path("empty").mkdir()
    with pytest.raises(EngineError, match=r"cannot load the tokenizer of '.*/empty'"):
        ask(Path("empty"), [request(1)])
    with pytest.raises(EngineError, match=r"cannot load the model '.*/llama'"):
        ask(llama, [request(1)], engine_args={"no_such_argument": 1})
    (llama / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(EngineError, match=r"cannot load the model '.*/llama'"):
        ask(llama, [request(1)])
    (llama / "model.safetensors").unlink()
    with pytest.raises(EngineError, match=r"cannot load the model '.*/llama'"):
        ask(llama, [request(1)])


def test_a_model_whose_weights_are_no_numbers_abstains(llama: Path) -> None:
    """A half-precision overflow is not a verdict."""
    network = LlamaForCausalLM.from_pretrained(llama)
    with torch.no_grad():
        network.lm_head.weight[PreTrainedTokenizerFast.from_pretrained(llama).convert_tokens_to_ids("no")] = np.nan
    network.save_pretrained(llama)
    limits = {"max_abstain_rate": 1.0}
    question = random_question(n_users=2)
    verdicts = llm_judge(on_cpu("llama"), SHORT, **limits).judge(question)
    assert verdicts.counts()["abstain"] == 8


def test_arguments_reach_the_model_and_the_template(llama: Path) -> None:
    """`dtlns_judge_engine_args`: the number type of the weights, and what the chat template is told."""
    content = json.loads((llama / "tokenizer_config.json").read_text())
    assert "chat_template" in content or (llama / "chat_template.jinja").exists()
    (llama / "chat_template.jinja").write_text("{{ opening }}{{ messages[0]['content'] }}")
    arguments = {"dtype": "bfloat16", "chat_template_kwargs": {"opening": "yes "}}
    with on_cpu("llama", engine_args=arguments).start() as running:
        assert running.network.dtype == torch.bfloat16
        assert running.chat.tokenizer.decode(running.chat.ids(request(1))).startswith("yes A 10")
