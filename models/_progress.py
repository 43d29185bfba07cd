"""How far a fit or a forecast is, and how many candidates a fit has compared.

Models report it, whoever called them may listen.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

# (how many are done, of how many if that is known, of what)
Listener = Callable[[int, int | None, str], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@dataclass
class Trials:
    """How many candidates were compared by forecasts of data that they were not fitted to."""

    count: int = 0


_trials: ContextVar[Trials | None] = ContextVar("trials", default=None)


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


def count_trial() -> None:
    """Say that one more candidate has been compared: called by whatever compares them."""
    trials = _trials.get()
    if trials is not None:
        trials.count += 1


@contextmanager
def counted_trials() -> Iterator[Trials]:
    """Those compared within; they count for the fit that this one is a part of, too."""
    around, own = _trials.get(), Trials()
    token = _trials.set(own)
    try:
        yield own
    finally:
        _trials.reset(token)
        if around is not None:
            around.count += own.count
