"""Files of ours that need an extra: imported when a model is fitted, with an error that helps."""

import importlib
import logging
from collections.abc import Iterable
from typing import Any


def needing_torch(module: str) -> Any:
    """`models.{module}`, which imports torch."""
    return _imported(module, "PyTorch", "torch")


def needing_pretrained(module: str) -> Any:
    """`models.{module}`, which imports torch and the libraries that others publish weights for."""
    return _imported(module, "PyTorch, transformers and chronos-forecasting", "pretrained")


def needing_darts(module: str, libraries: Iterable[str], extra: str) -> Any:
    """`models.{module}`, which imports darts, for a method that needs `libraries`.

    darts itself does without most of them until the method is called. What they log is dropped.
    """
    all_of_them, disabled = " and ".join(libraries), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        for library in libraries:
            importlib.import_module(library)
    except ImportError as error:
        raise _told(all_of_them, str(error), extra) from error
    finally:
        logging.disable(disabled)
    return _imported(module, all_of_them, extra)


def _imported(module: str, libraries: str, extra: str) -> Any:
    try:
        return importlib.import_module(f"models.{module}")
    except ImportError as error:
        raise _told(libraries, str(error), extra) from error


def _told(libraries: str, error: str, extra: str) -> ImportError:
    return ImportError(
        f"This model needs {libraries} ({error}). To install: `pip install 'dysts-bench[{extra}]'`."
    )
