"""Files of ours that need an extra: imported when a model is fitted, with an error that helps."""

import importlib
from typing import Any


def needing_torch(module: str) -> Any:
    """`models.{module}`, which imports torch."""
    try:
        return importlib.import_module(f"models.{module}")
    except ImportError as error:
        raise ImportError(
            f"This model needs PyTorch ({error}). "
            "Install it with `pip install 'dysts-bench[torch]'`."
        ) from error
