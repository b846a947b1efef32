"""Ray Data LLM: vLLM engines as actors on a cluster, or the requests shared among a fleet of servers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from recbole_dtlns.errors import ConfigError, EngineError
from recbole_dtlns.llm.chat_model import ChatTokenizer, local_model, model_revision
from recbole_dtlns.llm.engine import RunningEngine, optional_import
from recbole_dtlns.llm.openai_engine import OpenAIEngine, Server, server_of
from recbole_dtlns.llm.reply import NoReply, Reply
from recbole_dtlns.llm.request import Request
from recbole_dtlns.llm.vllm_engine import VLLMRequests
from recbole_dtlns.ray_cluster import ray_cluster

logger = logging.getLogger("recbole_dtlns")

INSTALL = "pip install 'recbole_dtlns[ray]'"
_BATCH = 64  # rows that one actor takes at once; what a dying actor had in hand is asked again by Ray


class RayEngine:
    """Feeds pending requests to Ray Data and streams the replies back; a bad row is a reply with a reason.

    Ray makes the engines anew for every slice, so slices are large (`least_slice`); their replies are kept one by one.

    Args:
        model: folder or name, the same on every node; with `urls`, its name on the servers.
        revision: of a name.
        address: of a cluster; None: the one that is connected, else one of this machine, ended afterwards.
        workers: vLLM engines.
        resources: what each engine needs, such as {"GPU": 1}.
        urls: OpenAI-compatible servers to share the requests among, instead of vLLM engines.
        server: how to ask those; its key is read from the environment of the nodes, never sent through Ray.
        arguments: further arguments of vLLM's engine; `chat_template_kwargs` goes to the chat template.
    """

    name = "ray"
    least_slice = 100_000
    local = False

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        address: str | None = None,
        workers: int = 1,
        resources: Mapping[str, float] | None = None,
        urls: Sequence[str] = (),
        server: Server | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model if urls else local_model(model)
        self.address = address
        self.workers = workers
        self.resources = dict(resources or {"GPU": 1})
        self.urls = list(urls)
        self.loads_model = not self.urls
        self.server = server or Server()
        for url in self.urls:
            replace(self.server, base_url=url)  # a wrong address is told here, not by an actor
        self._revision = revision
        self._arguments = dict(arguments or {})
        self._template_arguments = self._arguments.pop("chat_template_kwargs", {})

    @classmethod
    def from_settings(cls, settings: Any) -> RayEngine:
        if settings.judge_model is None:
            raise ConfigError("dtlns_judge: ray needs dtlns_judge_model, the folder or name of a model on every node")
        return cls(
            settings.judge_model,
            settings.judge_revision,
            settings.judge_ray_address,
            settings.judge_ray_workers,
            settings.judge_ray_resources,
            settings.judge_ray_urls,
            server_of(settings) if settings.judge_ray_urls else None,
            settings.judge_engine_args,
        )

    def revision(self) -> str | None:
        return self._revision if self.urls else model_revision(self.model, self._revision)

    @contextmanager
    def start(self) -> Iterator[RunningEngine]:
        optional_import("ray.data", self.name, INSTALL)  # before a cluster is started for nothing
        with ray_cluster(self.address, INSTALL) as ray:
            ray.data.DataContext.get_current().enable_progress_bars = False
            if self.urls:
                yield _Fleet(ray, self)
            else:
                self._check_resources(ray)
                yield _Actors(ray, self)

    def encoder(self) -> Callable[[Request], list[int]] | None:
        if self.urls:
            return None
        return ChatTokenizer.load(self.model, self._revision, self.name, self._template_arguments).ids

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
        chat = ChatTokenizer.load(engine.model, engine._revision, engine.name, engine._template_arguments)
        length = engine._arguments.get("max_model_len") or _context(engine)
        self.requests = VLLMRequests(library, chat.within(length))
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
            engine_kwargs={"enable_prefix_caching": True, **self._revised(), **self.engine._arguments},
            concurrency=self.engine.workers,
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
        return {} if self.engine._revision is None else {"revision": self.engine._revision}

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
            fn_constructor_args=(self.engine.model, self.engine.server),
            batch_size=_BATCH,
            concurrency=len(urls),
            num_cpus=0.1,
        )
        for position, row in _streamed(self.ray, asked, rows):
            self.mode = self.mode if row is None else row["mode"]
            yield position, _NO_REPLY if row is None else Reply.of_plain(json.loads(row["reply"]))


class _Client:
    """Lives in an actor: asks the server that a batch names."""

    def __init__(self, model: str, server: Server) -> None:
        self.model, self.server = model, server
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
            engine = OpenAIEngine(self.model, replace(self.server, base_url=url))
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
    config = transformers.AutoConfig.from_pretrained(engine.model, revision=engine._revision)
    return getattr(config.get_text_config(), "max_position_embeddings", None)
