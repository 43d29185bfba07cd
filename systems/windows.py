"""Windows of trajectories: what was seen and what came next, as a model is trained on them."""

from typing import Any

import numpy as np
from jaxtyping import Float

from systems.trajectory import Precision, optional


class Windows:
    """All pieces of `context + horizon` consecutive points, every `stride` points, of each
    trajectory: a sequence of pairs (context, dim), (horizon, dim).

    A window never spans two trajectories. Items are copies in precision `dtype`. Raises
    `ValueError` where the trajectories are too short for one window.
    """

    def __init__(
        self,
        states: Float[np.ndarray, "trajectories times dim"],
        context: int,
        horizon: int,
        *,
        stride: int = 1,
        dtype: Precision = "float32",
    ) -> None:
        for name, value in (("context", context), ("horizon", horizon), ("stride", stride)):
            if not (isinstance(value, int | np.integer) and value >= 1):
                raise ValueError(f"{name} is a positive whole number; {value!r} arrived.")
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype is float32 or float64; {dtype!r} arrived.")
        if states.shape[1] < context + horizon:
            raise ValueError(
                f"a window takes {context} + {horizon} points; "
                f"the trajectories have {states.shape[1]}."
            )
        self.states = states
        self.context = int(context)
        self.horizon = int(horizon)
        self.stride = int(stride)
        self.dtype = dtype
        self.windows_each = (states.shape[1] - context - horizon) // stride + 1

    def __len__(self) -> int:
        return len(self.states) * self.windows_each

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if not -len(self) <= number < len(self):
            raise IndexError(f"there are {len(self)} windows; number {number} arrived.")
        trajectory, window = divmod(number % len(self), self.windows_each)
        begin = window * self.stride
        middle, end = begin + self.context, begin + self.context + self.horizon
        states = self.states[trajectory]
        return states[begin:middle].astype(self.dtype), states[middle:end].astype(self.dtype)


def to_torch(windows: Windows) -> Any:
    """`windows` as a map-style `torch.utils.data.Dataset` of pairs of tensors."""
    torch = optional("torch")
    base: Any = optional("torch.utils.data").Dataset

    class TorchWindows(base):
        def __len__(self) -> int:
            return len(windows)

        def __getitem__(self, number: int) -> Any:
            seen, next_ = windows[number]
            return torch.from_numpy(seen), torch.from_numpy(next_)

    return TorchWindows()
