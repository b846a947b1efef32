"""The engines that a configuration can name."""

from recbole_dtlns.llm.batch_files import RecordedReplies
from recbole_dtlns.llm.engine import Engine
from recbole_dtlns.llm.openai_engine import OpenAIEngine
from recbole_dtlns.llm.ray_engine import RayEngine
from recbole_dtlns.llm.transformers_engine import TransformersEngine
from recbole_dtlns.llm.vllm_engine import VLLMEngine
from recbole_dtlns.registry import Registry

ENGINES: Registry[Engine] = Registry(
    "engine",
    "recbole_dtlns.engines",
    {
        "openai": OpenAIEngine,
        "vllm": VLLMEngine,
        "transformers": TransformersEngine,
        "ray": RayEngine,
        "recorded": RecordedReplies,
    },
)
