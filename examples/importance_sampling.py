"""Importance sampling: does a network learn more from windows that are hard to forecast?

    python examples/importance_sampling.py [--systems Lorenz,Colpitts] [--updates 600] [--seeds 3]

Gilpin (2021) let training dwell on hard windows and saved epochs by it. Here a small network learns
the next state from the present one, with a budget of gradient steps, and the states of a batch are
drawn in one of three ways:

uniform    every training state as often as any other;
error      a state as often as its error is large, measured anew every fifty updates;
exponent   a state as often as the flow there stretches: exp of the local Lyapunov exponent, the
           largest growth rate of any small difference, from the Jacobian of the equations (which
           no forecaster of the zoo gets to see).

The error and the weights are mixed half and half with uniform draws, and the loss is not weighted
back: that would have the same optimum in every case, and the point is another one. All three see
the same data, network, number of updates and seeds. (Needs PyTorch: the extra `torch`.)
"""

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer
from jaxtyping import Float

import systems
from systems.catalog import System

States = Float[np.ndarray, "points dim"]
Chances = Float[np.ndarray, " points"]

POINTS, POINTS_PER_PERIOD, BATCH, HORIZON = 4000, 30, 64, 300
UNITS = 64
EVERY = 50  # updates, after which errors are measured anew


def main(
    names: Annotated[str, typer.Option("--systems", help="With commas.")] = (
        "Lorenz,Rossler,HindmarshRose,Colpitts,HyperRossler,Lorenz96"
    ),
    updates: Annotated[int, typer.Option(help="Gradient steps, the budget.")] = 600,
    seeds: Annotated[int, typer.Option(help="Networks for each case.")] = 3,
) -> None:
    """Train networks under each scheme and print their errors and prediction times."""
    table = study(names.split(","), updates, seeds)
    shown = table.groupby(["system", "scheme"], sort=False)[["rmse", "worst", "valid"]].median()
    print(shown.unstack("scheme").to_string(float_format="%.3g"))
    pairs = table.pivot(index=["system", "seed"], columns="scheme", values="valid")
    for scheme in ("error", "exponent"):
        longer = (pairs[scheme] > pairs["uniform"]).mean()
        print(f"{scheme}: valid longer than with uniform draws in {longer:.0%} of networks")


def study(names: list[str], updates: int, seeds: int, points: int = POINTS) -> pd.DataFrame:
    """A row a system, scheme and seed.

    rmse: of one step, in standard deviations of a step; worst: its 99 % quantile over states;
    valid: median Lyapunov times until a free run is off by 0.4 standard deviations.
    """
    rows = []
    for name in names:
        system = systems.load(name)
        made = system.trajectory(
            points, points_per_period=POINTS_PER_PERIOD, trajectories=2, seed=1
        )
        dt = float(made.times[1] - made.times[0])
        mean, scale = made.states[0].mean(axis=0), made.states[0].std(axis=0)
        train, test = (made.states - mean) / scale
        stretch = chances(np.exp(np.minimum(dt * local_exponents(system, made.states[0]), 20)))
        for seed in range(seeds):
            for scheme, weigh in schemes(stretch).items():
                net = trained(train, weigh, updates, seed)
                errors = one_step_errors(net, test)
                steps = np.median(valid_steps(net, test))
                rows.append(
                    {
                        "system": name,
                        "scheme": scheme,
                        "seed": seed,
                        "rmse": float(np.sqrt(np.mean(errors**2))),
                        "worst": float(np.quantile(errors, 0.99)),
                        "valid": float(steps * dt / system.lyapunov_time),
                    }
                )
    return pd.DataFrame(rows)


def schemes(stretch: Chances) -> Mapping[str, Callable[[Chances], Chances]]:
    """From the errors of all training states, the chance of each to be drawn."""
    return {
        "uniform": lambda errors: np.full(len(errors), 1 / len(errors)),
        "error": chances,
        "exponent": lambda errors: stretch[: len(errors)] / stretch[: len(errors)].sum(),
    }


def chances(weights: Float[np.ndarray, " points"]) -> Chances:
    """In proportion to the weights, half and half with uniform ones."""
    return 0.5 * weights / weights.sum() + 0.5 / len(weights)


def local_exponents(system: System, states: States) -> Float[np.ndarray, " points"]:
    """The largest growth rate of a small difference: that of the symmetric part of the Jacobian."""
    jacobian = system.jacobian()(states)
    symmetric = 0.5 * (jacobian + np.swapaxes(jacobian, 1, 2))
    return np.linalg.eigvalsh(symmetric)[:, -1]


class Network(torch.nn.Module):
    """The next state, as the present one plus a change of typical size."""

    def __init__(self, dim: int, step: Float[np.ndarray, " dim"]) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(dim, UNITS), torch.nn.SiLU(),
            torch.nn.Linear(UNITS, UNITS), torch.nn.SiLU(),
            torch.nn.Linear(UNITS, dim),
        )  # fmt: skip
        self.step = torch.tensor(step, dtype=torch.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.step * self.layers(x)


def trained(train: States, weigh: Callable[[Chances], Chances], updates: int, seed: int) -> Network:
    """Adam on the squared error of one step, in units of a step; the rate falls by a cosine."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Network(train.shape[1], np.diff(train, axis=0).std(axis=0))
    now = torch.tensor(train[:-1], dtype=torch.float32)
    following = torch.tensor(train[1:], dtype=torch.float32)
    optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    for update in range(updates):
        if update % EVERY == 0:
            drawn_by = weigh(one_step_errors(net, train))
        batch = torch.tensor(rng.choice(len(now), BATCH, p=drawn_by))
        loss = (((net(now[batch]) - following[batch]) / net.step) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net


@torch.no_grad()
def one_step_errors(net: Network, states: States) -> Float[np.ndarray, " points"]:
    """Root mean squares over coordinates, in standard deviations of a step."""
    x = torch.tensor(states, dtype=torch.float32)
    wrong = (net(x[:-1]) - x[1:]) / net.step
    return wrong.square().mean(dim=1).sqrt().double().numpy()


@torch.no_grad()
def valid_steps(net: Network, states: States, windows: int = 30) -> Float[np.ndarray, " windows"]:
    """Steps for which free runs stay within 0.4 standard deviations (root mean square)."""
    starts = np.linspace(0, len(states) - HORIZON - 1, windows).astype(int)
    x = torch.tensor(states[starts], dtype=torch.float32)
    alive, steps = np.ones(windows, dtype=bool), np.zeros(windows)
    for step in range(1, HORIZON + 1):
        x = net(x)
        error = np.sqrt(((x.double().numpy() - states[starts + step]) ** 2).mean(axis=1))
        alive &= error <= 0.4
        steps += alive
    return steps


if __name__ == "__main__":
    typer.run(main)
