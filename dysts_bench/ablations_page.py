"""docs/ablations.md: neural networks beside themselves without one of their parts.

python -m dysts_bench.ablations_page
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dysts_bench import records
from dysts_bench.leaderboard import PRIMARY, as_text, rows_of

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "ablations.md"
OPENING = """# What the parts of the networks are worth

Generated from `results/reference/ablations/` by `python -m dysts_bench.ablations_page`; made by
`dysts-bench run --suite ablations`. Lorenz, the task of suite `standard`: 20 test windows, and as
many networks as there are seeds.

Valid prediction times in Lyapunov times: the median over windows, its least and its largest over
seeds, and the mean of what the part's absence changes in each window (mean over seeds), with its
95 % bootstrap interval over windows: a part is worth something where that is below 0. The KL
divergence is that of free runs from the true attractor, the median over seeds.
"""


def page(rows: "pd.DataFrame") -> str:
    """The page in Markdown: a table for each model, the whole one first."""
    import pandas as pd

    times, divergences = rows_of(rows, PRIMARY), rows_of(rows, "kl_divergence")
    failed = times[times["value"].isna()]
    lines = [OPENING]
    for name, part in times.groupby(times["model"].str.partition(":")[0], sort=True):
        whole = _by_window(part[part["model"] == name])
        table = []
        for entry in sorted(part["model"].unique(), key=lambda entry: (entry != name, entry)):
            own = part[part["model"] == entry]
            seeds = own.groupby("seed")["value"].median()
            kl = divergences[divergences["model"] == entry].groupby("seed")["value"].median()
            change = (_by_window(own) - whole).dropna().to_numpy()
            table.append(
                {
                    "model": entry,
                    "median": seeds.median(),
                    "over seeds": f"{seeds.min():.3g} to {seeds.max():.3g} ({len(seeds)})",
                    "without the part": "" if entry == name else _mean(change),
                    "KL divergence": kl.median(),
                    "fit s": own.drop_duplicates("seed")["fit_seconds"].median(),
                    "failed seeds": int(failed.loc[failed["model"] == entry, "seed"].nunique()),
                }
            )
        lines += [f"## {name}\n", as_text(pd.DataFrame(table), "markdown")]
    return "\n".join(lines)


def _by_window(rows: "pd.DataFrame") -> "pd.Series":
    """The mean over seeds in each window."""
    return rows.groupby("window")["value"].mean()


def _mean(values: np.ndarray) -> str:
    from scipy.stats import bootstrap

    drawn = bootstrap((values,), np.mean, method="percentile", rng=0).confidence_interval
    return f"{values.mean():+.2f} [{drawn.low:+.2f}, {drawn.high:+.2f}]"


def main() -> None:
    """Write the page of the reference rows."""
    rows = records.load_results(ROOT / "results", "ablations")
    PAGE.write_text(page(rows[rows["source"] == "reference"]), encoding="utf-8")


if __name__ == "__main__":
    main()
