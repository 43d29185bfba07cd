"""Whether long free runs move as the truth does: their frequencies, instability and returns.

Truth, forecast and facts as in `base`, with free runs for windows. Run i of the forecast is
compared with run i of the truth, which started from the same state: where attractors coexist, or
energy is conserved, each run has its own invariants. What is known of the truth is remembered, so
that many models can be scored against one truth.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dysts_bench.metrics._runs import Points, on_attractor
from dysts_bench.metrics.base import Facts, PerWindow, TooShort, Windows, metric, remembered

# Segments of a run whose spectra are averaged. Independent Lorenz runs of 5000 steps are 0.11 apart
# with 8, 0.18 with 4; with 16 a change of frequency by 5 % begins to blur.
SEGMENTS = 8
SHORTEST_SEGMENT = 16
# Below this part of the training deviation there is rounding, not dynamics.
STILL = 1e-6


@metric(
    unit="",
    better="lower",
    ideal=0.0,
    worst=1.0,
    data="free_runs",
    invariant=("units", "origin"),
)
def power_spectrum_distance(truth: Windows, forecast: Windows, facts: Facts) -> PerWindow:
    """Hellinger distance of the power spectra, √(½ Σ_f (√p − √q)²), averaged over coordinates.

    p and q are the `power_spectrum` of truth and forecast: 0 for equal spectra, 1 for spectra
    without a common frequency. A run that diverged has the value 1. Raises TooShort likewise.
    """
    values = np.ones(len(truth))
    for i in on_attractor(truth, forecast, facts):
        p = _true_spectrum(truth[i] / facts.scale)
        q = power_spectrum(forecast[i] / facts.scale)
        values[i] = np.mean(np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2, axis=0) / 2))
    return values


def power_spectrum(run: Points) -> Float[np.ndarray, "frequencies dim"]:
    """Share of each frequency in the variance of each coordinate; columns add up to 1.

    Welch's average over 15 half-overlapping Hann segments, each an eighth of the run. The first
    entry is the share of "does not move": 1 for a coordinate that varies by less than a millionth
    (run in training standard deviations), else 0.
    Raises TooShort below 16 steps a segment.
    """
    length = len(run) // SEGMENTS
    if length < SHORTEST_SEGMENT:
        raise TooShort(
            f"power spectrum: a run of {len(run)} steps is too short; "
            f"give at least {SEGMENTS * SHORTEST_SEGMENT}"
        )
    starts = np.arange(0, len(run) - length + 1, length - length // 2)
    segments = run[starts[:, None] + np.arange(length)]  # (segments, times, dim)
    segments = segments - segments.mean(axis=1, keepdims=True)
    hann = np.sin(np.pi * np.arange(length) / length)[:, None] ** 2
    # scipy.signal.welch gives the same (but for the entry at Nyquist) and takes 1.3 s to import.
    power = np.mean(np.abs(np.fft.rfft(segments * hann, axis=1)) ** 2, axis=0)
    still = (run.std(axis=0) < STILL) | (power[1:].sum(axis=0) == 0)
    power[0] = still
    power[1:, still] = 0.0
    return power / power.sum(axis=0)


_true_spectrum = remembered(power_spectrum)
