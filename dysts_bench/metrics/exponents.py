"""Whether a model is as unstable as the system: Lyapunov spectra from the model's own Jacobian.

Truth and forecast (runs, exponents) in descending order, per system time: of the equations, and of
the model's closed loop along each run. Unlike exponents estimated from a series these see what the
model does in directions that its runs do not show. A model that has fewer directions than the
system has −inf for the rest; a spectrum with NaN or +inf in it has the `worst` value.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from dysts_bench.metrics.base import Facts, PerWindow, Spectra, TooShort, metric

# A whole spectrum of a bounded system has no positive sum. Of conservative systems measured sums
# are up to 2e-5 of the sum of absolute values, of spectra cut off too early 0.1 and more.
CUT_OFF = 0.01


@metric(
    unit="per Lyapunov time",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="exponents",
    invariant=("units", "origin"),
)
def model_lyapunov_exponent_error(truth: Spectra, forecast: Spectra, facts: Facts) -> PerWindow:
    """Distance between the largest exponents of model and system, |λ₁(y) − λ₁(x)| · Lyapunov time.

    1: the model does not amplify errors at all (λ₁ = 0), or twice as fast as the system does.
    """
    error = np.abs(forecast[:, 0] - truth[:, 0]) * facts.lyapunov_time
    return np.where(_is_spectrum(forecast), error, np.inf)


@metric(
    unit="",
    better="lower",
    ideal=0.0,
    worst=np.inf,
    data="exponents",
    invariant=("units", "origin"),
)
def model_kaplan_yorke_error(truth: Spectra, forecast: Spectra, facts: Facts) -> PerWindow:
    """Distance between the Kaplan–Yorke dimensions of model and system, |D(y) − D(x)|.

    A model whose exponents do not add up to a negative number counts with as many dimensions as
    exponents were given: it has no fewer.
    Raises TooShort if the true spectrum is cut off before its dimension is reached: its sum is
    positive.
    """
    cut_off = truth.sum(axis=1) > CUT_OFF * np.abs(truth).sum(axis=1)
    if cut_off.any():
        raise TooShort(
            "the Kaplan-Yorke dimension takes the spectrum down to where its sum is negative; "
            f"the {truth.shape[1]} true exponents add up to {truth.sum(axis=1).max():.3g}"
        )
    values = np.full(len(truth), np.inf)
    for i in np.flatnonzero(_is_spectrum(forecast)):
        values[i] = abs(kaplan_yorke_dimension(forecast[i]) - kaplan_yorke_dimension(truth[i]))
    return values


def kaplan_yorke_dimension(spectrum: Float[np.ndarray, " exponents"]) -> float:
    """Kaplan–Yorke dimension, j + Σ_{i≤j} λ_i / |λ_{j+1}| with the largest j of no negative sum.

    0 if every exponent is negative. Where no sum is negative, the number of exponents: all there is
    of a conservative system, a lower bound if more exponents follow. In any order; −inf is allowed,
    a direction that is forgotten at once. Raises ValueError for NaN, +inf or no exponent.
    Source: Kaplan & Yorke, Lecture Notes in Mathematics 730, 204 (1979).
    """
    if len(spectrum) == 0 or not (spectrum < np.inf).all():
        raise ValueError(f"a spectrum is one or more exponents below infinity; got {spectrum}")
    total = 0.0
    for j, exponent in enumerate(np.sort(spectrum)[::-1].tolist()):
        if total + exponent < 0:
            return j - total / exponent
        total += exponent
    return float(len(spectrum))


def _is_spectrum(spectra: Spectra) -> Bool[np.ndarray, " windows"]:
    return np.all(spectra < np.inf, axis=1)  # False for NaN too
