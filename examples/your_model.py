"""A model in twenty lines: the next step, by ridge regression on random cosines of the state.

    dysts-bench check examples/your_model.py:RandomFeatures
    dysts-bench run --model examples/your_model.py:RandomFeatures

docs/tutorials/model.md is about models of your own. Source: Rahimi & Recht, NeurIPS 20 (2007).
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from models.base import Forecaster


@dataclass(kw_only=True)
class RandomFeatures(Forecaster):
    """x(t + dt) = x(t) + cos(x(t) D + φ) W, with random D and φ, and W fitted."""

    features: int = 400
    scale: float = 1.0  # of D, per unit of the standardised state
    ridge: float = 1e-7
    stochastic: ClassVar[bool] = True

    def _fit(self, train, *, dt, validation, seed):
        rng = np.random.default_rng(seed)
        self.directions_ = rng.normal(0, self.scale, (train.shape[2], self.features))
        self.phases_ = rng.uniform(0, 2 * np.pi, self.features)
        seen = np.concatenate([self._features(run[:-1]) for run in train])
        steps = np.concatenate(np.diff(train, axis=1))
        gram = seen.T @ seen + self.ridge * len(seen) * np.eye(self.features)
        self.weights_ = np.linalg.solve(gram, seen.T @ steps)

    def _predict(self, context, horizon):
        states = [context[:, -1]]
        for _ in range(horizon):
            states.append(states[-1] + self._features(states[-1]) @ self.weights_)
        return np.stack(states[1:], axis=1)

    def _features(self, states):
        return np.cos(states @ self.directions_ + self.phases_)

    @classmethod
    def small(cls):
        return cls(features=50, ridge=1e-3)
