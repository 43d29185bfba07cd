"""docs/findings.md: what the reference results say, as far as their intervals allow.

python -m dysts_bench.findings_page
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dysts_bench import figures, plots, published, records
from dysts_bench.comparison import LEVEL, compare
from dysts_bench.findings import (
    claims,
    conditions,
    difficulty,
    leaders,
    recurrences,
    reliability,
    summary,
)
from dysts_bench.leaderboard import PRIMARY, leaderboard
from dysts_bench.study_page import RESULTS, ROOT
from dysts_bench.task import read_suite

if TYPE_CHECKING:
    import pandas as pd

PAGE = ROOT / "docs" / "findings.md"
RANKS_FIGURE = ROOT / "docs" / "findings_ranks.svg"
TRACKS_FIGURE = ROOT / "docs" / "findings_tracks.svg"
COST_FIGURE = ROOT / "docs" / "findings_cost.svg"
STANDARD, STUDY, SCALING = "standard", "gilpin2023", "scaling"
# Of suite `standard`, beside the primary one: errors, and invariants of free runs.
METRICS = (
    PRIMARY,
    *("smape_prediction_time", "nrmse_at_1", "smape_at_1", "kl_divergence"),
    *("sliced_wasserstein_distance", "power_spectrum_distance", "lyapunov_exponent_error"),
    *("correlation_dimension_error", "return_time_distance"),
)
OPENING = f"""# What was found

Generated from `results/reference/` and `results/published/` by `python -m
dysts_bench.findings_page`: every number, and every sentence on who leads, is made from rows and
changes with them.

Scores are valid prediction times in Lyapunov times, unless said otherwise; a system's is the median
over windows, then over seeds, and a failure is below every value. Medians and differences are over
systems, in brackets with their 95 % bootstrap interval over systems. A difference is taken on the
same systems: "ahead by" is its median. It counts only where Wilcoxon's signed ranks see it at
{LEVEL:g} (p is Holm's, over all pairs of a table) **and** its interval leaves out 0; otherwise "no
difference can be seen", which is not to say that there is none. Models stand by their mean rank,
for the median alone does not see what happens on the other half. A value that came to the end of
its truth is a lower bound, and two that did are a tie.
"""


def page(rows: "Mapping[str, pd.DataFrame]", published_2023: "pd.DataFrame") -> str:
    """The page in Markdown, from `rows` as of `reference_rows`: a suite may be absent or empty.

    `published_2023` are the published figures of suite gilpin2023.
    """
    rows = {suite: part for suite, part in rows.items() if len(part)}
    standard = rows[STANDARD]
    tracks = {suite: rows[suite] for suite in conditions.TRACKS if suite in rows}
    correlations = difficulty.correlations_of(standard)
    return "\n".join(
        [
            OPENING,
            *summary.in_short(standard, tracks, correlations),
            *leaders.overall(standard, read_suite(STANDARD), RANKS_FIGURE.name),
            *leaders.by_kind(standard),
            *leaders.by_metric(standard),
            *conditions.tracks(standard, tracks, TRACKS_FIGURE.name),
            *(conditions.lengths(rows[SCALING]) if SCALING in rows else ()),
            *(recurrences.section(rows[SCALING]) if SCALING in rows else ()),
            *reliability.reaches(standard),
            *claims.section(rows, published_2023),
            *difficulty.section(standard, correlations),
            *reliability.cost(standard, COST_FIGURE.name),
            *reliability.searches({STANDARD: standard, **tracks}),
            *reliability.seeds(standard),
            *reliability.failures(rows),
        ]
    )


def reference_rows(results: Path = RESULTS) -> "dict[str, pd.DataFrame]":
    """The reference rows that `page` needs, by suite; empty for suites without any."""
    wanted = {STANDARD: METRICS, **dict.fromkeys(conditions.TRACKS, (PRIMARY,))}
    wanted |= {SCALING: (PRIMARY,), STUDY: ("smape",)}
    found = {}
    for suite, metrics in wanted.items():
        rows = records.load_results(results, suite, metrics=metrics)
        found[suite] = rows[rows["source"] == "reference"]
    return found


def main() -> None:
    """Write the page of the reference rows, and its figures."""
    rows = reference_rows()
    records.write_atomically(PAGE, page(rows, published.load(RESULTS, STUDY)))
    standard = rows[STANDARD]
    figures.save(plots.critical_differences(compare(standard)), RANKS_FIGURE)
    tracks = {suite: rows[suite] for suite in conditions.TRACKS if len(rows[suite])}
    if tracks:
        figures.save(conditions.tracks_figure(standard, tracks), TRACKS_FIGURE)
    figures.save(plots.cost(leaderboard(standard), PRIMARY, "Lyapunov times"), COST_FIGURE)


if __name__ == "__main__":
    main()
