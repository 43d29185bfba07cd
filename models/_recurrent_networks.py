"""Recurrent networks for models.recurrent. Imports torch: to be imported when a model is fitted."""

import numpy as np
import torch
from torch import Tensor, nn

from models.base import States, Tangents, Windows

CELLS = {"lstm": (nn.LSTM, torch.lstm_cell), "gru": (nn.GRU, torch.gru_cell)}

Hidden = tuple[Tensor, ...]


class RecurrentNetwork(nn.Module):
    """h(t) = cell(x(t), h(t-1)), x(t+1) = x(t) + scale · (W [h(t); x(t)] + b), h = 0 at first.

    Where inputs are known, one call runs all cells: LSTM's in half the time, with gradients.
    """

    vmapped = False  # where PyTorch's cells are not possible; set by the training loop

    def __init__(self, cell: str, units: int, memory: int, scale: np.ndarray) -> None:
        super().__init__()
        dim = len(scale)
        layer, self.one_step = CELLS[cell]
        self.cell = layer(dim, units, batch_first=True)
        self.readout = nn.Linear(units + dim, dim)
        nn.init.zeros_(self.readout.weight)  # persistence, at first
        nn.init.zeros_(self.readout.bias)
        self.memory, self.units = memory, units
        self.register_buffer("scale", torch.as_tensor(scale))

    def teacher_forced(self, windows: Tensor) -> Tensor:
        """The mean squared error of increments after true states, once the memory is warm."""
        warm = self.memory // 2
        outputs, _ = self._heard(windows[:, :-1])
        states = windows[:, warm:]
        increments = self.readout(torch.cat([outputs[:, warm:], states[:, :-1]], -1))
        return (increments - states.diff(dim=1) / self.scale).square().mean()

    def free_running(self, windows: Tensor) -> Tensor:
        """The mean squared error of states after its own, in units of increments."""
        context, truth = windows[:, : self.memory], windows[:, self.memory :]
        error = (self.run(context, truth.shape[1]) - truth) / self.scale
        return error.square().mean()

    def run(self, contexts: Tensor, steps: int) -> Tensor:
        state, hidden, states = contexts[:, -1], self.after(contexts), []
        for _ in range(steps):
            state, hidden = self.following(state, hidden)
            states.append(state)
        return torch.stack(states, 1)

    def after(self, contexts: Tensor) -> Hidden:
        """What is remembered of all states of the contexts but the newest."""
        heard = contexts[:, -self.memory : -1]
        if heard.shape[1] == 0:
            zeros = contexts.new_zeros(len(contexts), self.units)
            return (zeros, zeros) if isinstance(self.cell, nn.LSTM) else (zeros,)
        return self._heard(heard)[1]

    def _heard(self, states: Tensor) -> tuple[Tensor, Hidden]:
        """The outputs after each of the states, and what is remembered of them, from nothing on."""
        if not self.vmapped:
            outputs, hidden = self.cell(states)
            return outputs, tuple(
                h[0] for h in (hidden if isinstance(hidden, tuple) else (hidden,))
            )
        zeros = states.new_zeros(len(states), self.units)
        now: Hidden = (zeros, zeros) if isinstance(self.cell, nn.LSTM) else (zeros,)
        outputs = []
        for state in states.unbind(1):
            now = self._cell_after(state, now)
            outputs.append(now[0])
        return torch.stack(outputs, 1), now

    def following(self, state: Tensor, hidden: Hidden) -> tuple[Tensor, Hidden]:
        """The next state, and what is remembered then."""
        hidden = self._cell_after(state, hidden)
        return state + self.scale * self.readout(torch.cat([hidden[0], state], -1)), hidden

    def _cell_after(self, state: Tensor, hidden: Hidden) -> Hidden:
        cell = self.cell
        weights = (cell.weight_ih_l0, cell.weight_hh_l0, cell.bias_ih_l0, cell.bias_hh_l0)
        if self.vmapped:
            return _in_plain_operations(state, hidden, *weights)
        heard = self.one_step(state, hidden if len(hidden) == 2 else hidden[0], *weights)
        return heard if isinstance(heard, tuple) else (heard,)


def _in_plain_operations(
    state: Tensor, hidden: Hidden, w_state: Tensor, w_hidden: Tensor, b_state: Tensor, b: Tensor
) -> Hidden:
    """What the cells of PyTorch do, with two hidden tensors (LSTM) or one (GRU)."""
    given, heard = state @ w_state.mT + b_state, hidden[0] @ w_hidden.mT + b
    if len(hidden) == 2:
        keep_new, forget, new, show = (given + heard).chunk(4, -1)
        kept = forget.sigmoid() * hidden[1] + keep_new.sigmoid() * new.tanh()
        return show.sigmoid() * kept.tanh(), kept
    reset, keep, new = zip(given.chunk(3, -1), heard.chunk(3, -1), strict=True)
    fresh = (new[0] + (reset[0] + reset[1]).sigmoid() * new[1]).tanh()
    return (torch.lerp(fresh, hidden[0], (keep[0] + keep[1]).sigmoid()),)


def packed(network: RecurrentNetwork, context: Windows) -> States:
    """The hidden tensors and, last, the newest state, in one row a window."""
    contexts = torch.as_tensor(context.copy())
    with torch.no_grad():
        return torch.cat([*network.after(contexts), contexts[:, -1]], -1).numpy()


def advanced(
    network: RecurrentNetwork, states: States, tangents: Tangents
) -> tuple[States, Tangents]:
    """The next packed states, and the Jacobian there times `tangents`.

    Derivatives are written out: with torch.func.jvp, four times as slow, exponents cost what the
    fit does.
    """
    dim = len(network.scale)
    now, along = torch.as_tensor(states.copy()), torch.as_tensor(tangents.copy()).mT
    hidden, state = now[:, :-dim].split(network.units, -1), now[:, -dim:]
    hidden_along, along = along[..., :-dim].split(network.units, -1), along[..., -dim:]
    with torch.no_grad():
        state_after, after = network.following(state, hidden)
        after_along = _tangents_of_cell(network.cell, state, hidden, along, hidden_along)
        heard = torch.cat([after_along[0], along], -1)
        along = along + network.scale * (heard @ network.readout.weight.mT)
        following = torch.cat([*after, state_after], -1)
        moved = torch.cat([*after_along, along], -1).mT.contiguous()
    return following.numpy(), moved.numpy()


def _tangents_of_cell(
    cell: nn.Module, state: Tensor, hidden: Hidden, along: Tensor, hidden_along: Hidden
) -> Hidden:
    """The derivative of `_in_plain_operations` along directions, (windows, directions, …)."""
    h = hidden[0]
    given = torch.nn.functional.linear(state, cell.weight_ih_l0, cell.bias_ih_l0)
    heard = torch.nn.functional.linear(h, cell.weight_hh_l0, cell.bias_hh_l0)
    given, heard = given[:, None], heard[:, None]  # one for all directions
    given_along, heard_along = along @ cell.weight_ih_l0.mT, hidden_along[0] @ cell.weight_hh_l0.mT
    if len(hidden) == 2:
        keep_new, forget, new, show = (given + heard).chunk(4, -1)
        keep_new, forget, show = keep_new.sigmoid(), forget.sigmoid(), show.sigmoid()
        new, past = new.tanh(), hidden[1][:, None]
        shown = (forget * past + keep_new * new).tanh()
        inputs = (given_along + heard_along).chunk(4, -1)
        kept_along = (
            forget * hidden_along[1]
            + past * forget * (1 - forget) * inputs[1]
            + new * keep_new * (1 - keep_new) * inputs[0]
            + keep_new * (1 - new * new) * inputs[2]
        )
        shown_along = show * (1 - shown * shown) * kept_along
        return shown * show * (1 - show) * inputs[3] + shown_along, kept_along
    reset, keep, new = zip(given.chunk(3, -1), heard.chunk(3, -1), strict=True)
    reset_along, keep_along, new_along = zip(
        given_along.chunk(3, -1), heard_along.chunk(3, -1), strict=True
    )
    resets, keeps = (reset[0] + reset[1]).sigmoid(), (keep[0] + keep[1]).sigmoid()
    fresh = (new[0] + resets * new[1]).tanh()
    resets_along = resets * (1 - resets) * (reset_along[0] + reset_along[1])
    keeps_along = keeps * (1 - keeps) * (keep_along[0] + keep_along[1])
    fresh_along = (1 - fresh * fresh) * (
        new_along[0] + resets * new_along[1] + resets_along * new[1]
    )
    past = h[:, None]
    return ((1 - keeps) * fresh_along + keeps * hidden_along[0] + keeps_along * (past - fresh),)
