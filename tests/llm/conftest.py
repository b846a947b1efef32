"""Models are made by the tests; none is looked for on a hub."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
