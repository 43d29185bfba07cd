"""Which attractors are alike? Systems clustered by features of a trajectory each.

    python examples/attractor_clusters.py [--systems Lorenz,Rossler] [--clusters 8] [--figure FILE]

As in Gilpin (2021), with features that mean something: dimension, exponent, entropies, regularity
and the shape of the distribution, all measured from the trajectory, beside what the catalog says of
the system. Ward's method (scipy) on ranks, so that no feature counts for more by its units or its
tail. Whether the features tell systems apart is measured too: how often another trajectory of the
same system is the nearest neighbour of a trajectory, among those of all systems.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from jaxtyping import Float
from scipy.cluster.hierarchy import dendrogram, fcluster, linkage
from scipy.spatial.distance import cdist
from scipy.stats import kurtosis, rankdata, skew

import systems
from dysts_bench.metrics.complexity import multiscale_entropy, permutation_entropy
from dysts_bench.metrics.dynamics import largest_lyapunov_exponent, power_spectrum
from dysts_bench.metrics.geometry import correlation_dimension

POINTS, POINTS_PER_PERIOD = 3000, 30
SCALES = (1, 4, 16)
# A third of the catalog, of many kinds.
SYSTEMS = (
    *("Lorenz", "Chen", "LuChen", "BurkeShaw", "ShimizuMorioka", "RayleighBenard", "Rucklidge"),
    *("Rossler", "SprottI", "SprottK", "SprottL", "SprottO", "GenesioTesi", "Arneodo", "Coullet"),
    *("HyperRossler", "HyperLorenz", "HyperCai", "HyperXu", "Lorenz96", "Chua", "Duffing"),
    *("ForcedVanDerPol", "ForcedBrusselator", "HindmarshRose", "CellCycle"),
    *("NoseHoover", "SprottA", "HenonHeiles", "Thomas", "Halvorsen", "HastingsPowell", "Finance"),
)


def main(
    names: Annotated[
        str, typer.Option("--systems", help='With commas, or "chaotic", or "ours".')
    ] = "ours",
    clusters: Annotated[int, typer.Option(help="How many the tree is cut into.")] = 8,
    figure: Annotated[Path | None, typer.Option(help="An SVG file for the tree.")] = None,
) -> None:
    """Print the clusters, what is typical of each, and how far the features tell systems apart."""
    chosen = names.split(",")
    if names == "ours":
        chosen = list(SYSTEMS)
    elif names == "chaotic":  # but those with a delay, of which one coordinate is no state
        every = systems.names(tag="chaotic")
        chosen = [name for name in every if not systems.load(name).delays]
    one, other = features(chosen, seed=1), features(chosen, seed=2)
    found = one.join(facts(chosen))
    labels = cluster(found, clusters)
    for label, members in found.groupby(labels):
        typical = members.median().round(2).to_dict()
        print(f"{label}: {', '.join(members.index)}")
        print("   " + ", ".join(f"{feature} {value:g}" for feature, value in typical.items()))
    share = recognised(one, other)
    print(f"Another trajectory of the same system is the nearest one in {share:.0%} of cases.")
    if figure is not None:
        draw(found, figure)


def features(names: Sequence[str], seed: int, points: int = POINTS) -> pd.DataFrame:
    """Systems × features of one trajectory each, from initial states that the seed draws.

    correlation_dimension; exponent: the largest Lyapunov exponent, in periods; permutation: entropy
    of orders, a quarter of a period apart; entropy_k: sample entropy at k samples, in nats;
    spread: how many of all frequencies have nine tenths of the power; skewness and kurtosis, the
    means over coordinates, of the size of the first.
    """
    found = {}
    for name in names:
        system = systems.load(name)
        made = system.trajectory(points, points_per_period=POINTS_PER_PERIOD, seed=seed)
        run = made.states[0]
        run = (run - run.mean(axis=0)) / run.std(axis=0)
        entropies = np.mean([multiscale_entropy(series, SCALES) for series in run.T], axis=0)
        ordered = [permutation_entropy(series, 4, POINTS_PER_PERIOD // 4) for series in run.T]
        found[name] = {
            "correlation_dimension": correlation_dimension(run)[0],
            "exponent": largest_lyapunov_exponent(run, dt=1 / POINTS_PER_PERIOD)[0],
            "permutation": float(np.mean(ordered)),
            **{f"entropy_{k}": float(value) for k, value in zip(SCALES, entropies, strict=True)},
            "spread": spread(power_spectrum(run)),
            "skewness": float(np.abs(skew(run)).mean()),
            "kurtosis": float(kurtosis(run).mean()),
        }
    return pd.DataFrame(found).T


def spread(spectrum: Float[np.ndarray, "frequencies dim"]) -> float:
    """The least share of all frequencies that has nine tenths of the power, over coordinates."""
    largest = np.sort(spectrum, axis=0)[::-1]
    reached = np.cumsum(largest, axis=0) / largest.sum(axis=0) >= 0.9
    return float(np.mean(reached.argmax(axis=0) + 1) / len(spectrum))


def facts(names: Sequence[str]) -> pd.DataFrame:
    """What the catalog says: of the state space, not of one trajectory."""
    rows = {}
    for name in names:
        system = systems.load(name)
        exponents = np.array(system.lyapunov_spectrum) * system.period
        rows[name] = {
            "states": system.dimension,
            "contraction": -exponents.sum(),  # of volumes, a period
            "positive_exponents": int((exponents > 0.01).sum()),
        }
    return pd.DataFrame(rows).T


def cluster(table: pd.DataFrame, count: int) -> np.ndarray:
    """A label from 1 to `count` for each row."""
    return fcluster(linkage(ranked(table), "ward"), count, criterion="maxclust")


def ranked(table: pd.DataFrame) -> np.ndarray:
    """Each feature as its rank, from 0 to 1."""
    return rankdata(table, axis=0) / len(table)


def recognised(one: pd.DataFrame, other: pd.DataFrame) -> float:
    """The share of rows of `one` whose nearest row in `other` is of the same system."""
    both = ranked(pd.concat([one, other]))
    nearest = cdist(both[: len(one)], both[len(one) :]).argmin(axis=1)
    return float(np.mean(one.index == other.index[nearest]))


def draw(table: pd.DataFrame, path: Path) -> None:
    """The tree, as an SVG file (needs matplotlib)."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(6, 0.2 * len(table) + 1), layout="constrained")
    axes = picture.add_subplot(xlabel="distance (Ward)")
    dendrogram(linkage(ranked(table), "ward"), labels=list(table.index), orientation="right",
               ax=axes, leaf_font_size=7)  # fmt: skip
    picture.savefig(path)


if __name__ == "__main__":
    typer.run(main)
