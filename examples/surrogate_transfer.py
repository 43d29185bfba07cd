"""Transfer from chaos: does an encoder that only knows chaotic systems help to tell series apart?

    python examples/surrogate_transfer.py [--labelled 30] [--updates 400] [--seeds 3] [--noise 0.5]

As in Gilpin (2021): an autoencoder learns to compress windows of chaotic systems, sampled so that
their period is that of the series to be classified (the surrogates' timescale is matched to the
data's); its code, pooled over a series, is what the classifier gets. The classifier, the nearest
labelled series, is the same in every row of the table:

raw          the series as it is;
spectrum     its power spectrum, the plain way to forget the phase;
untrained    the code of the encoder before it has learned anything;
mismatched   of one that learned from chaos eight times as slow;
matched      of one that learned from chaos as fast as the data;
own          of one that learned from the unlabelled series themselves, which is no transfer.

The data are made here: relaxation oscillators of three kinds, equally fast, each at a phase and
amplitude of its own and under noise, so that only the shape of a wave tells them apart. The
timescale is measured from the data, not known. (Needs PyTorch: the extra `torch`.)
"""

from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from jaxtyping import Float, Int
from scipy.integrate import solve_ivp
from scipy.spatial.distance import cdist

import systems
from models.baselines import dominant_period

Series = Float[np.ndarray, "series times"]

LENGTH, WINDOW, CODE, CHANNELS = 256, 64, 8, 16
STIFFNESS = (0.3, 1.5, 4.0)  # of a van der Pol oscillator: from a sine to a square wave
PERIOD = 25.0  # samples, of all three
SURROGATES = (
    *("Lorenz", "Rossler", "Duffing", "Chua", "ForcedVanDerPol", "HindmarshRose", "Colpitts"),
    *("SprottI", "GenesioTesi", "Halvorsen", "ShimizuMorioka", "CellCycle", "ForcedBrusselator"),
)


def main(
    labelled: Annotated[int, typer.Option(help="Series whose class is known.")] = 30,
    updates: Annotated[int, typer.Option(help="Gradient steps of an encoder.")] = 400,
    seeds: Annotated[int, typer.Option(help="Data sets and encoders.")] = 3,
    noise: Annotated[float, typer.Option(help="In standard deviations.")] = 0.5,
) -> None:
    """Print the accuracy with every kind of feature, mean and range over seeds."""
    table = study(labelled, updates, seeds, noise)
    shown = table.groupby("features", sort=False)["accuracy"].agg(["mean", "min", "max"])
    print(f"Chance: {1 / len(STIFFNESS):.2f}. {labelled} labelled series, noise {noise:g}.")
    print(shown.to_string(float_format="%.3f"))


def study(labelled: int, updates: int, seeds: int, noise: float, others: int = 300) -> pd.DataFrame:
    """The accuracy on other series, a row a seed and kind of features."""
    rows = []
    for seed in range(seeds):
        series, kinds = oscillators(labelled + others, noise, seed)
        period = dominant_period(series[:, :, None], longest=LENGTH // 4)
        sources = {
            "untrained": None,
            "mismatched": surrogates(8 * period, seed),
            "matched": surrogates(period, seed),
            "own": series,
        }
        features = {"raw": series, "spectrum": np.abs(np.fft.rfft(series, axis=1))} | {
            name: pooled(encoder(source, updates, seed), series) for name, source in sources.items()
        }
        for name, values in features.items():
            guessed = nearest(values[:labelled], kinds[:labelled], values[labelled:])
            right = float(np.mean(guessed == kinds[labelled:]))
            rows.append({"features": name, "seed": seed, "accuracy": right})
    return pd.DataFrame(rows)


def oscillators(count: int, noise: float, seed: int) -> tuple[Series, Int[np.ndarray, " series"]]:
    """Standardised series of van der Pol oscillators, and which of STIFFNESS each has."""
    rng = np.random.default_rng(seed)
    waves = [wave(stiffness) for stiffness in STIFFNESS]
    kinds = rng.integers(len(STIFFNESS), size=count)
    phases = rng.uniform(0, 1, count)[:, None] + np.arange(LENGTH) / PERIOD
    grid = np.linspace(0, 1, len(waves[0]), endpoint=False)
    clean = np.stack(
        [np.interp(p, grid, waves[k], period=1) for p, k in zip(phases, kinds, strict=True)]
    )
    series = clean + noise * rng.standard_normal(clean.shape)
    return standardised(series), kinds


def wave(stiffness: float) -> Float[np.ndarray, " phases"]:
    """One period of x'' = stiffness (1 - x²) x' - x on its limit cycle, at 200 phases."""

    def rising(t: float, state: np.ndarray) -> float:
        return state[0]

    rising.direction = 1  # type: ignore[attr-defined]
    solved = solve_ivp(
        lambda t, s: [s[1], stiffness * (1 - s[0] ** 2) * s[1] - s[0]],
        (0, 120), [2.0, 0.0], events=rising, rtol=1e-8, atol=1e-8, dense_output=True,
    )  # fmt: skip
    begin, end = solved.t_events[0][-2:]
    cycle = solved.sol(np.linspace(begin, end, 200, endpoint=False))[0]
    return (cycle - cycle.mean()) / cycle.std()


def surrogates(period: float, seed: int) -> Series:
    """First coordinates of chaotic systems, `period` samples in a period of each."""
    found = []
    for name in SURROGATES:
        made = systems.load(name).trajectory(
            LENGTH, points_per_period=round(period), trajectories=8, seed=seed
        )
        found.append(made.states[:, :, 0])
    return standardised(np.concatenate(found))


def standardised(series: Series) -> Series:
    centred = series - series.mean(axis=1, keepdims=True)
    return centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-9)


def encoder(series: Series | None, updates: int, seed: int) -> torch.nn.Module:
    """The first half of an autoencoder of windows, which mends noisy ones (Vincent et al. 2008).

    Without series, as it is at the start.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encode = torch.nn.Sequential(
            torch.nn.Conv1d(1, CHANNELS, 9, stride=2, padding=4), torch.nn.SiLU(),
            torch.nn.Conv1d(CHANNELS, CHANNELS, 9, stride=2, padding=4), torch.nn.SiLU(),
            torch.nn.Conv1d(CHANNELS, CODE, 9, stride=2, padding=4),
        )  # fmt: skip
        decode = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(CODE * WINDOW // 8, 128), torch.nn.SiLU(),
            torch.nn.Linear(128, WINDOW),
        )  # fmt: skip
    if series is None:
        return encode
    numbers = [*encode.parameters(), *decode.parameters()]
    optimiser = torch.optim.Adam(numbers, lr=3e-3)
    for _ in range(updates):
        rows = rng.integers(len(series), size=64)[:, None]
        starts = rng.integers(series.shape[1] - WINDOW + 1, size=64)[:, None]
        windows = series[rows, starts + np.arange(WINDOW)]
        seen = windows + 0.5 * rng.standard_normal(windows.shape)
        mended = decode(encode(torch.tensor(seen[:, None], dtype=torch.float32)))
        loss = (mended - torch.tensor(windows, dtype=torch.float32)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return encode


@torch.no_grad()
def pooled(encode: torch.nn.Module, series: Series) -> Float[np.ndarray, "series features"]:
    """Of every channel of the code the quantiles over time: where a wave begins does not matter."""
    code = encode(torch.tensor(series[:, None], dtype=torch.float32)).double().numpy()
    found = np.quantile(code, np.linspace(0.05, 0.95, 10), axis=2)  # (quantiles, series, channels)
    found = np.moveaxis(found, 0, 2) / code.std(axis=(0, 2))[:, None]
    return found.reshape(len(series), -1)


def nearest(
    known: Float[np.ndarray, "labelled features"],
    kinds: Int[np.ndarray, " labelled"],
    unknown: Float[np.ndarray, "others features"],
) -> Int[np.ndarray, " others"]:
    """The class of the nearest labelled series."""
    return kinds[cdist(unknown, known).argmin(axis=1)]


if __name__ == "__main__":
    typer.run(main)
