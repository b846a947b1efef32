"""The encoders that a configuration can name."""

from recbole_dtlns.registry import Registry
from recbole_dtlns.text.contract import Encoder
from recbole_dtlns.text.given_vectors import GivenVectors
from recbole_dtlns.text.openai_encoder import OpenAIEncoder
from recbole_dtlns.text.tfidf import TFIDF
from recbole_dtlns.text.transformers_encoder import TransformersEncoder
from recbole_dtlns.text.vllm_encoder import VLLMEncoder

ENCODERS: Registry[Encoder] = Registry(
    "text encoder",
    "recbole_dtlns.encoders",
    {
        "tfidf": TFIDF,
        "transformers": TransformersEncoder,
        "vllm": VLLMEncoder,
        "openai": OpenAIEncoder,
        "file": GivenVectors,
    },
)
