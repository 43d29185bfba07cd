"""What makes a system hard: rank correlations of scores with what the catalog says of it.

A system's score here is the median over JUDGES, models that differ in kind: how hard it is for
one of them says as much about that model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

import systems as catalog
from dysts_bench.comparison import LEVEL, holm
from dysts_bench.findings.contest import chaotic_rows, contest
from dysts_bench.findings.differences import RESAMPLES, SEED
from dysts_bench.groups import degree_of
from dysts_bench.leaderboard import as_text

if TYPE_CHECKING:
    import pandas as pd

JUDGES = ("sindy", "nvar", "esn", "kernel", "neural_ode", "smap", "analog")
EXPONENT = "largest exponent times period"
EXTREMES = 10  # systems, hardest and easiest

Values = Float[np.ndarray, " systems"]


@dataclass(frozen=True)
class Correlation:
    """Spearman's ρ, with its 95 % bootstrap interval over systems and its p-value."""

    systems: int
    rho: float
    low: float
    high: float
    p_value: float

    @property
    def seen(self) -> bool:
        return self.p_value < LEVEL and (self.low > 0 or self.high < 0)

    def numbers(self) -> str:
        """ρ and its interval, empty where there is none."""
        if np.isnan(self.rho):
            return ""
        return f"{self.rho:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def section(rows: "pd.DataFrame", found: Mapping[tuple[str, str], Correlation]) -> Iterator[str]:
    """Correlations of scores with facts of the catalog, and the hardest and easiest systems.

    `found` is `correlations_of` the rows.
    """
    import pandas as pd

    if not found:
        return
    scores = judged(rows)
    judges = [name for name in JUDGES if name in scores]
    facts = list(dict.fromkeys(fact for fact, _ in found))
    score = scores["median"]
    lines = [
        {"of the system": fact, "systems": found[fact, "median"].systems}
        | {column: _shown(found[fact, column]) for column in scores}
        for fact in facts
    ]
    told = {fact: found[fact, "median"] for fact in facts}
    seen = [fact for fact, each in told.items() if each.seen]
    yield (
        "## What makes a system hard\n\n"
        "Spearman's rank correlation, over chaotic systems, of scores with what the catalog says "
        f"of the system: of {', '.join(judges)}, and of the median of them. In Lyapunov times the "
        "largest exponent is divided out already; in periods it is not. Then the median again, of "
        "systems whose equations are polynomials, and of the others. Negative: the larger, the "
        "harder. In bold what is seen. Delay systems, which have infinitely many exponents and "
        "coordinates, take part where they have a number.\n"
    )
    yield as_text(pd.DataFrame(lines), "markdown")
    yield (
        f"Seen of the median at {LEVEL:g}, after Holm over the whole table: "
        f"{'; '.join(seen) or 'none'}. Gilpin (Physical Review Research 5, 043252, 2023) concludes "
        "that where forecasts last long, accuracy no longer goes with invariants such as the "
        f"largest exponent; here that is {told[EXPONENT].numbers()}, and in periods "
        f"{found[EXPONENT, 'in periods'].numbers()}.\n"
    )
    ordered = score.sort_values(kind="stable")
    yield (
        f"The hardest, by that median: {_listed(ordered.head(EXTREMES))}. The easiest: "
        f"{_listed(ordered.iloc[::-1].head(EXTREMES))}.\n"
    )


def _shown(found: Correlation) -> str:
    return f"**{found.numbers()}**" if found.seen else found.numbers()


def judged(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Chaotic systems × the median of JUDGES, in Lyapunov times and in periods, of two kinds of
    systems alone, and each of them; of one judge or none, without rows."""
    table = contest(chaotic_rows(rows)).whole().scores
    judges = [name for name in JUDGES if name in table]
    score = table[judges].median(axis=1)
    polynomial = [degree_of(name) is not None for name in table.index]
    scores = table[judges].copy()
    scores.insert(0, "median", score)
    scores.insert(1, "in periods", score * _periods_per_lyapunov_time(table.index))
    scores.insert(2, "of polynomials", score.where(polynomial))
    scores.insert(3, "of others", score.mask(polynomial))
    return scores if len(judges) > 1 else scores.iloc[:0]


def correlations_of(rows: "pd.DataFrame") -> dict[tuple[str, str], Correlation]:
    """`correlations` of what was `judged` with `properties`; empty for fewer than three systems."""
    scores = judged(rows)
    return correlations(scores, properties(scores.index)) if len(scores) > 2 else {}


def _listed(values: "pd.Series") -> str:
    return ", ".join(f"{name} {value:.2g}" for name, value in values.items())


def properties(names: "pd.Index") -> "pd.DataFrame":
    """What the catalog says of these systems, NaN where it has no number."""
    import pandas as pd

    return pd.DataFrame({name: _properties(catalog.load(name)) for name in names}).T


def _properties(entry: catalog.System) -> dict[str, float]:
    exponents = np.array(entry.lyapunov_spectrum)
    measured = {
        name: fact["value"] if isinstance(fact, Mapping) else fact
        for name, fact in entry.measured.items()
        if name in ("kaplan_yorke", "correlation_dimension", "stiffness")
    }
    # A delay system has infinitely many exponents, of which the catalog knows some.
    whole = "delay" not in entry.tags
    return {
        EXPONENT: exponents[0] * entry.period,
        "sum of positive exponents / largest": exponents[exponents > 0].sum() / exponents[0],
        "contraction (-sum of exponents) / largest": -exponents.sum() / exponents[0]
        if whole
        else np.nan,
        "Kaplan-Yorke dimension": measured.get("kaplan_yorke", np.nan),
        "correlation dimension": measured.get("correlation_dimension", np.nan),
        "coordinates of the state": entry.dimension if whole else np.nan,
        "stiffness": measured.get("stiffness", np.nan),
        "equations not polynomial (0 or 1)": float(degree_of(entry.name) is None),
    }


def _periods_per_lyapunov_time(names: "pd.Index") -> "pd.Series":
    """By system: what turns times in Lyapunov times into periods."""
    import pandas as pd

    entries = [catalog.load(name) for name in names]
    return pd.Series([entry.lyapunov_time / entry.period for entry in entries], index=names)


def correlation(score: Values, fact: Values) -> Correlation:
    """Of the systems on which both are known; a failure, -inf, has the lowest rank."""
    from scipy.stats import rankdata, spearmanr

    known = ~np.isnan(score) & ~np.isnan(fact)
    one, other = score[known], fact[known]
    if len(one) < 3 or min(len(np.unique(one)), len(np.unique(other))) < 2:
        return Correlation(len(one), np.nan, np.nan, np.nan, np.nan)
    found = spearmanr(rankdata(one), rankdata(other))
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(0, len(one), (RESAMPLES, len(one)))
    first, second = (rankdata(values[drawn], axis=1) for values in (one, other))
    first, second = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (first, second))
    lengths = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    with np.errstate(invalid="ignore"):  # 0/0: a draw in which all are alike
        rhos = (first * second).sum(axis=1) / lengths
    low, high = np.nanquantile(rhos, [0.025, 0.975])
    return Correlation(
        len(one), float(found.statistic), float(low), float(high), float(found.pvalue)
    )


def correlations(
    scores: "pd.DataFrame", facts: "pd.DataFrame"
) -> dict[tuple[str, str], Correlation]:
    """By (fact, column of scores), p-values after Holm; both frames are of the same systems."""
    found = {
        (fact, column): correlation(
            scores[column].to_numpy(dtype=float), facts[fact].to_numpy(dtype=float)
        )
        for fact in facts
        for column in scores
    }
    known = [key for key, each in found.items() if not np.isnan(each.p_value)]
    if known:
        p_values = holm(np.array([found[key].p_value for key in known]))
        for key, p_value in zip(known, p_values, strict=True):
            found[key] = replace(found[key], p_value=float(p_value))
    return found
