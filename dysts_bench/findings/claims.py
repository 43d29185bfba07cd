"""Conclusions of the literature as predictions that rows can meet: which of two scores better."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench.findings.contest import chaotic_rows, contest, p_value, windows_of
from dysts_bench.findings.differences import Difference, adjusted, difference, told_by_windows
from dysts_bench.leaderboard import PRIMARY, as_text
from dysts_bench.study_page import by_system

if TYPE_CHECKING:
    import pandas as pd

KL = "kl_divergence"
SECONDS = "fit_seconds"
PUBLISHED = " (published)"  # after the name of a model whose scores are those of its study

Tables = Mapping[tuple[str, str], "pd.DataFrame"]  # by suite and metric: systems × models


@dataclass(frozen=True)
class Prediction:
    """By a claim, `better` has the better `metric` of the two in a suite."""

    suite: str
    metric: str
    better: str
    worse: str


@dataclass(frozen=True)
class Claim:
    """What a study concluded, in our words, and what follows from it for our rows."""

    text: str
    source: str
    predictions: tuple[Prediction, ...]


def _each(suite: str, metric: str, better: str, worse: str) -> tuple[Prediction, ...]:
    """Of every pair of names in the two lists."""
    return tuple(
        Prediction(suite, metric, one, other)
        for one in better.split(", ")
        for other in worse.split(", ")
    )


GILPIN = "Gilpin, Physical Review Research 5, 043252 (2023)"
GAUTHIER = "Gauthier, Bollt, Griffith & Barbosa, Nature Communications 12, 5564 (2021)"
VLACHAS = "Vlachas et al., Neural Networks 126, 191 (2020)"
CLAIMS = (
    Claim(
        "large, domain-agnostic models (N-BEATS, transformers, recurrent networks) forecast chaos "
        "better than reservoir computers and neural ODEs",
        GILPIN,
        (
            *_each("gilpin2023", "smape", "nbeats (published)", "esn (published)"),
            *_each("gilpin2023", "smape", "nbeats (published)", "nvar (published)"),
            *_each("gilpin2023", "smape", "nbeats (published)", "neural_ode (published)"),
            *_each("gilpin2023", "smape", "nbeats (published)", "esn:gilpin2023"),
            *_each("gilpin2023", "smape", "nbeats (published)", "nvar:gilpin2023"),
            *_each("gilpin2023", "smape", "nbeats (published)", "neural_ode:gilpin2023"),
            *_each("gilpin2023", "smape", "nbeats (published)", "esn, nvar, best_of"),
            *_each("standard", PRIMARY, "darts_nbeats, darts_nhits", "esn, nvar, neural_ode"),
            *_each("standard", PRIMARY, "transformer, lstm", "esn, nvar, neural_ode"),
        ),
    ),
    Claim(
        "where data are few, physics-based methods (reservoir computers, neural ODEs) keep an "
        "advantage over large, domain-agnostic ones",
        GILPIN,
        _each("limited", PRIMARY, "esn, nvar, neural_ode", "transformer, lstm"),
    ),
    Claim(
        "nonlinear vector autoregression does what reservoir computers do, from shorter training "
        "data and in less time",
        GAUTHIER,
        (
            *_each("standard", PRIMARY, "nvar", "esn"),
            *_each("standard", KL, "nvar", "esn"),
            *_each("gilpin2023", "smape", "nvar", "esn"),
            *_each("limited", PRIMARY, "nvar", "esn"),
            *_each("standard", SECONDS, "nvar", "esn"),
        ),
    ),
    Claim(
        "where the full state is seen, reservoir computers predict better than gated recurrent "
        "networks trained by backpropagation, capture long-term statistics better, train faster",
        VLACHAS,
        (
            *_each("standard", PRIMARY, "esn", "lstm, gru"),
            *_each("standard", KL, "esn", "lstm, gru"),
            *_each("standard", SECONDS, "esn", "lstm, gru"),
        ),
    ),
    Claim(
        "where only part of the state is seen, gated recurrent networks forecast better than "
        "reservoir computers",
        VLACHAS,
        _each("partial", PRIMARY, "lstm, gru, lstm:searched", "esn"),
    ),
    Claim(
        "copying from the context (parroting) beats pretrained foundation models",
        "Zhang & Gilpin, arXiv 2505.11349 (2025)",
        _each("standard", PRIMARY, "parrot", "chronos2, timesfm, panda"),
    ),
    Claim(
        "a selective state-space model with delay embedding, multi-token prediction and a loss on "
        "the attractor's geometry (PhyxMamba) forecasts chaos better than its rivals",
        "Liu et al., arXiv 2505.23863 (2025)",
        _each("standard", PRIMARY, "phyxmamba", "esn, nvar, lstm, transformer, patch_transformer"),
    ),
)  # fmt: skip


def section(rows: "Mapping[str, pd.DataFrame]", figures: "pd.DataFrame") -> Iterator[str]:
    """A table a claim; `rows` by suite, `figures` the published ones of suite gilpin2023."""
    import pandas as pd

    yield (
        "## How published conclusions hold up\n\n"
        "What a study concluded, in our words, and what our rows should then show: that the first "
        "model is ahead of the second. By how much it is, on the systems of both; p after Holm "
        "over a table. By windows: on how many systems their own windows tell the two apart, for "
        "the prediction and against it. Presets named `gilpin2023` repeat that study's settings; "
        "scores of its own, from other initial states, are marked as published. sMAPE is from 0 "
        "to 200; seconds are those of a whole fit, search for hyperparameters included, on one "
        "core, and compared by their ratio. Our networks are small and briefly trained "
        "([budget](budget.md)): a prediction that fails for them says nothing of larger ones. By "
        "default they look back as far as a state that is seen asks for; the presets `searched` "
        "choose how far. "
        "More on the studies: [reproduction](reproduction.md).\n"
    )
    windows = {
        suite: windows_of(chaotic_rows(part))
        for suite, part in rows.items()
        if (part["metric"] == PRIMARY).any()
    }
    for claim, found in tested(_tables(rows, figures)):
        asked = [(prediction, each) for prediction, each in found if each.systems]
        absent = [prediction for prediction, each in found if not each.systems]
        said = [verdict(each) for _, each in asked]
        counts = {word: said.count(word) for word in dict.fromkeys(said)}
        summary = ", ".join(f"{word} {count}" for word, count in counts.items()) or "nothing yet"
        yield f"**{claim.source}**: {claim.text}. Rows say: {summary}.{_without(absent)}\n"
        lines = [
            {
                "suite": prediction.suite,
                "metric": prediction.metric,
                "should be ahead": prediction.better,
                "of": prediction.worse,
                "is ahead by": _told(prediction, each),
                "wins : losses": f"{each.wins} : {each.losses}",
                "p": p_value(each.p_value),
                "by windows": _told_by_windows(prediction, windows),
                "rows say": word,
            }
            for (prediction, each), word in zip(asked, said, strict=True)
        ]
        if lines:
            yield as_text(pd.DataFrame(lines), "markdown")


def _without(absent: list[Prediction]) -> str:
    if not absent:
        return ""
    pairs = ", ".join(f"{each.better} and {each.worse} (`{each.suite}`)" for each in absent)
    return f" There are no rows of both {pairs}."


def _told(prediction: Prediction, found: Difference) -> str:
    if prediction.metric != SECONDS:
        return found.numbers()
    median, low, high = (float(np.exp(x)) for x in (found.median, found.low, found.high))
    return f"factor {median:.3g} [{low:.3g}, {high:.3g}]"


def _told_by_windows(prediction: Prediction, windows: "Mapping[str, pd.DataFrame]") -> str:
    """Systems whose own windows agree : disagree with a prediction of prediction times."""
    table = windows.get(prediction.suite)
    pair = (prediction.better, prediction.worse)
    if table is None or prediction.metric != PRIMARY or not set(pair) <= set(table.columns):
        return ""
    return "{} : {}".format(*told_by_windows(table, *pair))


def _tables(rows: "Mapping[str, pd.DataFrame]", figures: "pd.DataFrame") -> "Tables":
    """Whatever there is of what CLAIMS need."""
    import pandas as pd

    tables = {}
    for suite, metric in {(p.suite, p.metric) for claim in CLAIMS for p in claim.predictions}:
        if suite not in rows:
            continue
        if metric == SECONDS:
            tables[suite, metric] = _speeds(rows[suite])
        elif (rows[suite]["metric"] == metric).any():
            tables[suite, metric] = contest(chaotic_rows(rows[suite], metric)).scores
    if ("gilpin2023", "smape") in tables:
        theirs = -by_system(figures[figures["metric"] == "smape"]).add_suffix(PUBLISHED)
        tables["gilpin2023", "smape"] = pd.concat([tables["gilpin2023", "smape"], theirs], axis=1)
    return tables


def _speeds(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Systems × models: minus the logarithm of the seconds of a fit, on the commonest hardware."""
    own = chaotic_rows(rows)
    own = own[own["hardware_id"] == own["hardware_id"].mode()[0]]
    return -np.log(own.groupby(["system", "model"])["fit_seconds"].median().unstack())


def tested(tables: Tables) -> list[tuple[Claim, list[tuple[Prediction, Difference]]]]:
    """Each claim with what is found of its predictions, p-values after Holm over these.

    A prediction whose models have no common system has a difference of none.
    """
    told = []
    for claim in CLAIMS:
        found = adjusted([_found(prediction, tables) for prediction in claim.predictions])
        told.append((claim, list(zip(claim.predictions, found, strict=True))))
    return told


def _found(prediction: Prediction, tables: Tables) -> Difference:
    table = tables.get((prediction.suite, prediction.metric))
    if table is None or not {prediction.better, prediction.worse} <= set(table.columns):
        return difference(np.empty(0), np.empty(0))
    better, worse = (table[name].to_numpy() for name in (prediction.better, prediction.worse))
    return difference(better, worse)


def verdict(found: Difference) -> str:
    """What the rows say of a prediction."""
    if not found.systems:
        return "no rows"
    if not found.seen:
        return "no difference can be seen"
    return "as predicted" if found.median > 0 else "the opposite"
