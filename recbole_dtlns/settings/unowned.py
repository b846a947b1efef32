"""Keys of components that have no Config yet; a key leaves this module when the component brings its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from recbole_dtlns.components import ComponentConfig


class OfJudges(ComponentConfig):
    """Judges."""

    prefix = ""

    judge_labels: str | None = None
    """recorded: file of labels (.tsv or .parquet: user_id, item_id, optionally label, probability) or of batch replies
    (.jsonl)."""
    judge_missing: Literal["abstain", "negative"] = "abstain"
    """recorded: the answer for candidates that the file does not name: abstain, or negative for a list of positives."""


class OfLanguageModels(ComponentConfig):
    """Judges that ask a language model, and what brings the requests to it."""

    prefix = ""

    judge_threshold: float = Field(0.5, gt=0, le=1)
    """LLMs, recorded: probability that makes a positive."""
    judge_model: str | None = None
    """Folder or name of the model; openai: its name on the server."""
    judge_revision: str | None = None
    """Which state of a named model; folders are recognised by their content. openai: also the name under which the
    server may answer."""
    judge_prompt: str = "pair"
    """pair: one candidate a request. user: all of a user's candidates in one. Or a prompt file of your own."""
    judge_max_history: int = Field(0, ge=0)
    """Show only this many of a user's latest items; 0: all. What is too long loses its oldest items."""
    judge_engine_args: dict[str, Any] = Field(default_factory=dict)
    """Further arguments: of vllm's LLM, of transformers' from_pretrained, of every request to a server."""
    judge_batch_size: int = Field(32, ge=1)
    """transformers: prompts in one forward pass."""
    judge_slice: int = Field(2048, ge=1)
    """Requests handed to the engine at once."""
    judge_max_abstain_rate: float = Field(0.1, ge=0, le=1)
    """Stop with examples when more than this share of the replies cannot be used."""
    judge_reask_abstained: bool = False
    """Ask again about pairs on which the model abstained."""
    judge_max_tokens_total: int | None = Field(None, ge=1)
    """Ask nothing more once this many tokens were computed; what is left abstains (distilled: the small model
    answers)."""
    judge_base_url: str | None = None
    """openai: the server, such as http://localhost:8000/v1; default OpenAI's."""
    judge_api_key_env: str | None = None
    """openai, ray: NAME of the environment variable that holds the key, such as OPENAI_API_KEY; never the key."""
    judge_concurrency: int = Field(32, ge=1)
    """openai, ray: requests under way at once."""
    judge_timeout_seconds: float = Field(120.0, gt=0)
    """openai, ray: seconds for one attempt, from connecting to the last byte of the reply."""
    judge_retries: int = Field(6, ge=0)
    """openai, ray: further attempts after 408, 409, 429, 5xx and connection faults."""
    judge_tokenizer: str | None = None
    """openai: folder or name of the model's tokenizer, for counting tokens in a dry run."""
    judge_ray_address: str | None = None
    """ray: address of a cluster; default: the one of this machine, started if need be."""
    judge_ray_workers: int = Field(1, ge=1)
    """ray: engines (vLLM replicas)."""
    judge_ray_resources: dict[str, float] = Field(default_factory=dict)
    """ray: what each engine needs, such as {CPU: 4}; default {GPU: 1}."""
    judge_ray_urls: list[str] = Field(default_factory=list)
    """ray: OpenAI-compatible servers to share the requests, instead of vLLM engines."""
    judge_llm: str = "openai"
    """distilled: the LLM judge to learn from."""
    judge_max_llm_pairs: int = Field(10_000, ge=1)
    """distilled: pairs that the LLM may be asked about."""
    judge_sure: float = Field(0.4, ge=0, le=0.5)
    """distilled: the small model is sure from this distance to 1/2 on, and such pairs are not asked."""
