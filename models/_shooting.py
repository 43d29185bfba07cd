"""Programs in JAX that train vector fields, many at once, and follow them.

A field maps states to their change per sampling interval: f(y) = scale · (C h + c), where
h = tanh(A y + a) and then h ← h + silu(B h + b) in each hidden layer. All tasks of a call have one
shape: what is shorter or has fewer dimensions is padded, and padding enters no loss. Every function
is compiled once for each shape. Needs the extra `jax`: imported when a model is fitted.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Layers = tuple[tuple[Any, Any], ...]  # (weights, bias), inputs first

ADAM = optax.scale_by_adam()


class Task(NamedTuple):
    """What one field is trained on; stacked, with a leading axis, for many."""

    states: Any  # (trajectories · times, dim), one trajectory after the other
    trajectories: Any
    times: Any  # of one trajectory
    scale: Any  # (dim,); 0 where dimensions are padded
    weight: Any  # of the mean squared error
    key: Any


def field(layers: Layers, scale: Any, state: Any) -> Any:
    (weights, bias), *hidden, (last, offset) = layers
    h = jnp.tanh(state @ weights + bias)
    for weights, bias in hidden:
        h = h + jax.nn.silu(h @ weights + bias)
    return scale * (h @ last + offset)


def step(layers: Layers, scale: Any, state: Any, substeps: int) -> Any:
    """The state a sampling interval later, by steps of the classical Runge-Kutta method.

    Written out: with diffrax.diffeqsolve (Tsit5, the same constant step) a training step takes
    twice as long and its compilation six times, and diffrax.Tsit5().step lies between.
    """
    scale = scale / substeps
    for _ in range(substeps):
        one = field(layers, scale, state)
        two = field(layers, scale, state + one / 2)
        three = field(layers, scale, state + two / 2)
        four = field(layers, scale, state + three)
        state = state + (one + 2 * two + 2 * three + four) / 6
    return state


@partial(jax.jit, static_argnames=("longest", "batch", "substeps"))
def train(
    layers: Layers,
    moments: Any,
    tasks: Task,
    rates: Any,
    numbers: Any,
    window: Any,
    clip: Any,
    *,
    longest: int,
    batch: int,
    substeps: int,
) -> tuple[Layers, Any]:
    """Adam on `batch` random windows of `window` steps, each followed from its true first state.

    One learning rate and one number, which the draw depends on, for each step. Layers, moments and
    tasks have a leading axis of tasks. One program serves all windows up to `longest`.
    """

    def loss(layers: Layers, task: Task, truth: Any) -> Any:
        def advance(state: Any, now: tuple[Any, Any]) -> tuple[Any, Any]:
            number, true = now

            def judge(state: Any) -> tuple[Any, Any]:
                following = step(layers, task.scale, state, substeps)
                return following, task.weight * ((following - true) ** 2).mean()

            # a loop of `window` rounds, a traced number, could not be differentiated backwards
            return jax.lax.cond(number < window, judge, lambda state: (state, nothing), state)

        nothing = jnp.zeros((), truth.dtype)
        # Steps are computed again on the way back: what they would store grows with `longest`.
        steps = (jnp.arange(longest), truth[1:])
        return jax.lax.scan(jax.checkpoint(advance), truth[0], steps)[1].sum() / window

    def update(
        layers: Layers, moments: Any, task: Task, rate: Any, number: Any
    ) -> tuple[Layers, Any]:
        truth = draw(task, number, window, longest, batch)
        gradient = jax.grad(loss)(layers, task, truth)
        norm = jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
        shrunk = jnp.minimum(1, clip / norm)
        direction, moments = ADAM.update(jax.tree.map(lambda g: g * shrunk, gradient), moments)
        return jax.tree.map(lambda w, d: w - rate * d, layers, direction), moments

    def every_task(carried: tuple[Layers, Any], now: tuple[Any, Any]) -> tuple[Any, None]:
        updated = jax.vmap(update, in_axes=(0, 0, 0, None, None))(*carried, tasks, *now)
        return updated, None

    return jax.lax.scan(every_task, (layers, moments), (rates, numbers))[0]


def draw(task: Task, number: Any, window: Any, longest: int, batch: int) -> Any:
    """Random pieces of trajectories, (longest + 1, batch, dim); what is after `window` is junk."""
    starts = task.times - window  # of one trajectory
    key = jax.random.fold_in(jax.random.wrap_key_data(task.key), number)
    chosen = jax.random.randint(key, (batch,), 0, task.trajectories * starts, dtype=jnp.int32)
    first = chosen // starts * task.times + chosen % starts
    return task.states[first + jnp.arange(longest + 1)[:, None]]


@jax.jit
def moments_of(layers: Layers) -> Any:
    """Adam's memory before the first step, for stacked layers."""
    return jax.vmap(ADAM.init)(layers)


@partial(jax.jit, static_argnames=("steps", "substeps"))
def run(layers: Layers, scale: Any, states: Any, *, steps: int, substeps: int) -> Any:
    """The free run (windows, steps, dim) of one field from `states` (windows, dim)."""

    def advance(now: Any, _: None) -> tuple[Any, Any]:
        following = step(layers, scale, now, substeps)
        return following, following

    return jnp.moveaxis(jax.lax.scan(advance, states, None, length=steps)[1], 0, 1)


@partial(jax.jit, static_argnames="substeps")
def tangent(
    layers: Layers, scale: Any, states: Any, tangents: Any, *, substeps: int
) -> tuple[Any, Any]:
    """The next states, and the Jacobian there times `tangents` (windows, dim, directions)."""

    def along(state: Any, direction: Any) -> tuple[Any, Any]:
        advance = partial(step, layers, scale, substeps=substeps)
        return jax.jvp(advance, (state,), (direction,))

    each_direction = jax.vmap(along, in_axes=(None, 1), out_axes=(None, 1))
    return jax.vmap(each_direction)(states, tangents)
