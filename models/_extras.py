"""Files of ours that need an extra: imported when a model is fitted, with an error that helps."""

import importlib
from typing import Any


def needing_torch(module: str) -> Any:
    """`models.{module}`, which imports torch."""
    return _imported(module, "PyTorch", "torch")


def needing_pretrained(module: str) -> Any:
    """`models.{module}`, which imports torch and the libraries that others publish weights for."""
    return _imported(module, "PyTorch, transformers and chronos-forecasting", "pretrained")


def _imported(module: str, libraries: str, extra: str) -> Any:
    try:
        return importlib.import_module(f"models.{module}")
    except ImportError as error:
        raise ImportError(
            f"This model needs {libraries} ({error}). "
            f"To install: `pip install 'dysts-bench[{extra}]'`."
        ) from error
