"""How far a fit or a forecast is: models report it, whoever called them may listen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# (how many are done, of how many if that is known, of what)
Listener = Callable[[int, int | None, str], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def report(done: int, total: int | None, what: str) -> None:
    """Tell whoever listens: report(3, None, "candidates"), report(200, 2000, "updates")."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total, what)


@contextmanager
def heard_by(listener: Listener | None) -> Iterator[None]:
    """Reports from within go to `listener`; None leaves the one there is."""
    token = _listener.set(listener or _listener.get())
    try:
        yield
    finally:
        _listener.reset(token)
