"""The forecasting methods of the library darts, among them all those of Gilpin's 2023 study.

One class wraps any of them; the table models._darts_methods says which there are, and a class is
made for each: `create("darts_nbeats")`, `create("darts_arima:gilpin2023")`. Hyperparameters are
arguments of the darts class; a tuple lists candidates. The default, `tuned`, chooses among them as
the rest of the zoo does, by free runs on validation data, which are standardised. The preset
`gilpin2023` has the grids and the raw units of

    Gilpin, W. (2023). Model scale versus domain knowledge in statistical forecasting of chaotic
    systems. Physical Review Research 5, 043252,

leaves everything else as darts has it, and chooses by a single forecast (models._tuning). darts is
imported at the first fit; it comes with the extra `darts`, with `prophet` for that one method.
Shapes and units are those of models.base.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, make_dataclass
from itertools import product
from types import MappingProxyType
from typing import Any, ClassVar

from models._darts_methods import FAMILIES, METHODS, Method
from models._extras import needing_darts
from models._tuning import best_on_continuation, best_on_free_runs, free_runs, split
from models.base import FitError, Forecast, Forecaster, Trajectories, Windows

CONTEXT = 512  # steps, where validation data are long enough: what the suites give a model


@dataclass(kw_only=True)
class DartsForecaster(Forecaster):
    """A method of darts; what differs between them stands in `method`, and in their fields.

    `libraries` are those that it needs. A forecast that linear algebra breaks off is NaN.
    """

    raw_units: bool = False
    by_continuation: bool = False  # choose as studies do that split one series

    method: ClassVar[Method]
    libraries: ClassVar[tuple[str, ...]]

    @property
    def zero_shot(self) -> bool:
        return self.method.family == "local" and len(self._candidates()) == 1

    def _fit(
        self, train: Trajectories, *, dt: float, validation: Trajectories | None, seed: int
    ) -> None:
        adapter = needing_darts("_darts", self.libraries, self.method.extra)
        candidates = self._candidates()
        fit_on, held_out = split(train, validation)

        def trials(seen: Trajectories, longest: int) -> Iterator[tuple[dict[str, Any], "_Fitted"]]:
            for chosen in candidates:
                if adapter.steps_needed(self.method, self._with(chosen)) > longest:
                    continue
                try:
                    yield chosen, self._fitted(adapter, chosen, seen, seed)
                except FitError:  # not for this one; if for none, the search says so
                    continue

        if len(candidates) == 1:
            chosen = candidates[0]
        elif self.by_continuation:
            longest = held_out.shape[1] * 5 // 6
            chosen, _ = best_on_continuation(lambda seen: trials(seen, longest), _run, held_out)
        else:
            context = min(CONTEXT, held_out.shape[1] // 3)
            runs = free_runs(held_out, context=context, raw_units=self.raw_units)
            found = best_on_free_runs(trials(fit_on, min(context, fit_on.shape[1])), _run, runs)
            self._adopt(adapter, *found)
            return
        needed = adapter.steps_needed(self.method, self._with(chosen))
        if needed > train.shape[1]:
            raise FitError(
                f"{self.method.darts_class} needs trajectories of {needed} times, "
                f"got {train.shape[1]}: pass longer ones or choose a smaller model"
            )
        self._adopt(adapter, chosen, self._fitted(adapter, chosen, train, seed))

    def _adopt(self, adapter: Any, chosen: dict[str, Any], fitted: "_Fitted") -> None:
        self.chosen_, self.fitted_ = chosen, fitted
        self.context_needed_, self.context_used_ = fitted.context_needed, fitted.context_used
        self.parameters_ = fitted.parameters

    def _fitted(
        self, adapter: Any, chosen: Mapping[str, Any], train: Trajectories, seed: int
    ) -> "_Fitted":
        return adapter.fitted(self.method, self._with(chosen), train, seed)

    def _candidates(self) -> list[dict[str, Any]]:
        """Every combination of what the tuples among the arguments list."""
        known = self._arguments()
        listed = {key: value for key, value in known.items() if isinstance(value, tuple | list)}
        return [dict(zip(listed, values, strict=True)) for values in product(*listed.values())]

    def _with(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        return self._arguments() | dict(chosen)

    def _arguments(self) -> dict[str, Any]:
        known = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {key: value for key, value in known.items() if key not in _OURS}

    def _predict(self, context: Windows, horizon: int) -> Forecast:
        return self.fitted_.run(context, horizon)

    def settled(self) -> "DartsForecaster":
        return dataclasses.replace(self, **self.chosen_, by_continuation=False)

    @classmethod
    @abstractmethod
    def small(cls) -> "DartsForecaster":
        """Abstract here: each method has its own."""


_OURS = {field.name for field in dataclasses.fields(DartsForecaster)}
_Fitted = Any  # one of the classes of models._darts, which imports darts


def _run(fitted: _Fitted, context: Windows, steps: int) -> Forecast:
    return fitted.run(context, steps)


def _class_of(method: Method) -> type[DartsForecaster]:
    presets: dict[str, Mapping[str, Any]] = {"tuned": {}}
    if method.study is not None:
        presets["gilpin2023"] = {**method.study, "raw_units": True, "by_continuation": True}
    return make_dataclass(
        class_name(method),
        [(key, Any, dataclasses.field(default=value)) for key, value in method.tuned.items()],
        bases=(DartsForecaster,),
        kw_only=True,
        namespace={
            "__doc__": f"{method.title}\n\n{method.about}\n{_costs(method)}",
            "__module__": __name__,
            "method": method,
            "libraries": ("darts", *method.libraries),
            "stochastic": method.stochastic,
            # float32, or rounding that a search for the optimum of a likelihood enlarges
            "tolerance": 1e-3 if method.family == "network" else 1e-6,
            "presets": MappingProxyType(presets),
            "small": classmethod(lambda cls: cls(**method.small)),
        },
    )


def class_name(method: Method) -> str:
    """The name of the class in this file."""
    return "Darts" + method.darts_class.removesuffix("Model").removesuffix("Forecaster")


def _costs(method: Method) -> str:
    return FAMILIES[method.family].format(
        and_state="" if method.multivariate else " and coordinate",
        one_copy="" if method.multivariate else ", each coordinate by itself",
    )


globals().update({class_name(method): _class_of(method) for method in METHODS.values()})
