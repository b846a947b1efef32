"""Ray Data LLM: vLLM engines as actors on a cluster, or the requests shared among a fleet of servers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.chat_model import ChatTokenizer, local_model, model_revision
from recbole_dtlns.llm.engine import Engine, RunningEngine, optional_import
from recbole_dtlns.llm.openai_engine import OpenAIEngine, ServerConfig
from recbole_dtlns.llm.reply import NoReply, Reply
from recbole_dtlns.llm.request import Request
from recbole_dtlns.llm.vllm_engine import VLLMRequests
from recbole_dtlns.ray_cluster import ray_cluster

logger = logging.getLogger("recbole_dtlns")

INSTALL = "pip install 'recbole_dtlns[ray]'"
_BATCH = 64  # rows that one actor takes at once; what a dying actor had in hand is asked again by Ray


class RayEngine(Engine):
    """Feeds pending requests to Ray Data and streams the replies back; a bad row is a reply with a reason.

    Ray makes the engines anew for every slice, so slices are large (`least_slice`); their replies are kept one by one.
    A server's key is read from the environment of the nodes, never sent through Ray.

    Attributes:
        resources: what each engine needs.
        urls: OpenAI-compatible servers to share the requests among, instead of vLLM engines.
        server: how to ask those.
    """

    class Config(ServerConfig):
        """Settings of a cluster."""

        ray_address: str | None = None
        """Address of a cluster; default: the one of this machine, started if need be."""
        ray_workers: int = Field(1, ge=1)
        """Engines (vLLM replicas)."""
        ray_resources: dict[str, float] = Field(default_factory=dict)
        """What each engine needs, such as {CPU: 4}; default {GPU: 1}."""
        ray_urls: list[str] = Field(default_factory=list)
        """OpenAI-compatible servers to share the requests, instead of vLLM engines; the model is then the name that
        it has on them."""

    config: Config
    name = "ray"
    what_model = "the folder or name of a model on every node"
    least_slice = 100_000

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.resources = self.config.ray_resources or {"GPU": 1}
        self.urls = self.config.ray_urls
        self.loads_model = not self.urls
        if self.urls:
            self.server = self.config.server(None)
            for url in self.urls:
                replace(self.server, base_url=url)  # a wrong address is told here, not by an actor
        else:
            self.model = local_model(self.model)
        self.arguments = dict(self.config.engine_args)
        self.template_arguments = self.arguments.pop("chat_template_kwargs", {})

    def revision(self) -> str | None:
        return self.config.revision if self.urls else model_revision(self.model, self.config.revision)

    def chat(self) -> ChatTokenizer:
        """The model's tokenizer."""
        return ChatTokenizer.load(self.model, self.config.revision, self.name, self.template_arguments)

    @contextmanager
    def start(self) -> Iterator[RunningEngine]:
        optional_import("ray.data", self.name, INSTALL)  # before a cluster is started for nothing
        with ray_cluster(self.config.ray_address, INSTALL) as ray:
            ray.data.DataContext.get_current().enable_progress_bars = False
            if self.urls:
                yield _Fleet(ray, self)
            else:
                self._check_resources(ray)
                yield _Actors(ray, self)

    def encoder(self) -> Callable[[Request], list[int]] | None:
        if self.urls:
            return None
        return self.chat().ids

    def _check_resources(self, ray: Any) -> None:
        """Say at once what Ray would wait for, for ever or for now."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        able = [node for node in nodes if all(node.get(name, 0) >= count for name, count in self.resources.items())]
        if not able:
            has = "; ".join(
                str({name: node.get(name, 0) for name in ("CPU", "GPU", *self.resources)}) for node in nodes
            )
            raise EngineError(
                f"every engine asks for {self.resources} on one node, and no node of the Ray cluster has that ({has}): "
                "set dtlns_judge_ray_resources, such as {CPU: 4} for vLLM on a CPU, or add nodes"
            )
        free = ray.available_resources()
        short = {name: free.get(name, 0) for name, count in self.resources.items() if free.get(name, 0) < count}
        if short:
            logger.info("ray: waiting for %s; free at the moment: %s", self.resources, short)


class _Actors:
    """vLLM engines as actors, through `ray.data.llm`."""

    def __init__(self, ray: Any, engine: RayEngine) -> None:
        library = optional_import("vllm", engine.name, INSTALL)
        self.ray = ray
        self.engine = engine
        length = engine.arguments.get("max_model_len") or _context(engine)
        self.requests = VLLMRequests(library, engine.chat().within(length))
        self.mode = ""
        self.truncated = 0

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        llm = optional_import("ray.data.llm", self.engine.name, INSTALL)
        rows = []
        reserved = max(map(self.requests.longest_reply, requests), default=0)
        for position, (ids, cut) in enumerate(self.requests.chat.encode_all(requests, reserved)):
            if ids is None:
                yield position, Reply(reason=NoReply.TOO_LONG)
                continue
            self.truncated += cut
            rows.append({"position": position, "ids": ids, "sampling": self.requests.sampling(requests[position])})
        if not rows:
            return
        config = llm.vLLMEngineProcessorConfig(
            model_source=self.engine.model,
            engine_kwargs={"enable_prefix_caching": True, **self._revised(), **self.engine.arguments},
            concurrency=self.engine.config.ray_workers,
            batch_size=_BATCH,
            placement_group_config={"bundles": [self.engine.resources]},
            should_continue_on_error=True,
            chat_template_stage=False,
            tokenize_stage=False,
            detokenize_stage=False,
            log_engine_metrics=False,
        )
        process = llm.build_processor(config, preprocess=_to_vllm, postprocess=_from_vllm)
        for position, row in _streamed(self.ray, process(self.ray.data.from_items(rows)), rows):
            self.mode = self.requests.mode(requests[position])
            yield position, _NO_REPLY if row is None else self._read(requests[position], row)

    def _revised(self) -> dict[str, Any]:
        revision = self.engine.config.revision
        return {} if revision is None else {"revision": revision}

    def _read(self, request: Request, row: Mapping[str, Any]) -> Reply:
        error = row.get("__inference_error__") or row.get("error")  # Ray leaves a failed row as it was
        if error:
            return Reply(reason=NoReply.FAILED, detail=str(error), lasting=False)
        first = {int(token): value for token, value in json.loads(row["logprobs"]).items()}
        return self.requests.read(request, row["text"], first, row["tokens"])


class _Fleet:
    """A fleet of OpenAI-compatible servers, one actor for each."""

    def __init__(self, ray: Any, engine: RayEngine) -> None:
        self.ray = ray
        self.engine = engine
        self.mode = ""
        self.truncated = 0
        engine.server.key()  # a missing key is told here, not by an actor

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        urls = self.engine.urls
        rows = [
            {
                "position": position,
                "url": urls[position // _BATCH % len(urls)],
                "request": json.dumps(request.plain()),
            }
            for position, request in enumerate(requests)
        ]
        data = self.ray.data.from_items(rows, override_num_blocks=max(1, -(-len(rows) // _BATCH)))
        # In blocks of one url each, in turn; Ray hands them to whichever actor is free.
        asked = data.map_batches(
            _Client,
            fn_constructor_args=(self.engine.config,),
            batch_size=_BATCH,
            concurrency=len(urls),
            num_cpus=0.1,
        )
        for position, row in _streamed(self.ray, asked, rows):
            self.mode = self.mode if row is None else row["mode"]
            yield position, _NO_REPLY if row is None else Reply.of_plain(json.loads(row["reply"]))


class _Client:
    """Lives in an actor: asks the server that a batch names."""

    def __init__(self, config: ServerConfig) -> None:
        self._shared = {name: getattr(config, name) for name in ServerConfig.model_fields}
        self._open = ExitStack()
        self._running: dict[str, RunningEngine] = {}

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        replies: dict[int, Reply] = {}
        modes: dict[str, str] = {}
        texts, urls = [str(text) for text in batch["request"]], [str(url) for url in batch["url"]]
        for url in dict.fromkeys(urls):
            places = [place for place, each in enumerate(urls) if each == url]
            asked = [Request.of_plain(json.loads(texts[place])) for place in places]
            try:
                running = self._at(url)
                for place, reply in running.answer(asked):
                    replies[places[place]] = reply
                modes[url] = running.mode
            except EngineError as error:  # this server refuses or is gone; the others go on
                for place in places:
                    replies.setdefault(place, Reply(reason=NoReply.FAILED, detail=str(error), lasting=False))
                modes[url] = "none"
        plain = [json.dumps(replies[place].plain()) for place in range(len(urls))]
        return {"position": list(batch["position"]), "reply": plain, "mode": [modes[url] for url in urls]}

    def _at(self, url: str) -> RunningEngine:
        if url not in self._running:
            engine = OpenAIEngine(base_url=url, **self._shared)
            self._running[url] = self._open.enter_context(engine.start())
        return self._running[url]


_NO_REPLY = Reply(reason=NoReply.FAILED, detail="Ray brought no reply", lasting=False)


def _streamed(
    ray: Any, data: Any, rows: Iterable[Mapping[str, Any]]
) -> Generator[tuple[int, Mapping[str, Any] | None]]:
    """Positions and rows as Ray brings them, exactly one for each that it was given; None for one that it lost."""
    waiting = {row["position"] for row in rows}
    try:
        for row in data.iter_rows():
            position = int(row["position"])
            if position in waiting:  # Ray repeats what a dying actor had in hand
                waiting.discard(position)
                yield position, row
    except ray.exceptions.RayError as error:
        raise EngineError(f"Ray ended the job, and what was answered is kept: {str(error).strip()[-500:]}") from error
    for position in sorted(waiting):
        yield position, None


def _to_vllm(row: dict[str, Any]) -> dict[str, Any]:
    return {"position": row["position"], "tokenized_prompt": row["ids"], "sampling_params": row["sampling"]}


def _from_vllm(row: dict[str, Any]) -> dict[str, Any]:
    found = row.get("logprobs")
    first = {str(token): float(value["logprob"]) for token, value in found[0].items() if value} if found else {}
    read = row.get("num_input_tokens") or 0
    return {
        "position": row["position"],
        "error": row.get("__inference_error__") or "",
        "text": row.get("generated_text") or "",
        "logprobs": json.dumps(first),
        "tokens": int(read) + int(row.get("num_generated_tokens") or 0),
    }


def _context(engine: RayEngine) -> int | None:
    transformers = optional_import("transformers", engine.name, INSTALL)
    config = transformers.AutoConfig.from_pretrained(engine.model, revision=engine.config.revision)
    return getattr(config.get_text_config(), "max_position_embeddings", None)
