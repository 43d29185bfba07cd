"""JSON → System: the catalog's entries, their editions, and the rules that an entry must keep.

Reading the built-in catalog checks what is needed to compute; `check_system` holds every rule, for
the tests and for a stranger's file. Nothing in a catalog is executed.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from systems.expr import (
    RESERVED,
    TIME,
    Apply,
    EquationError,
    Expr,
    check_known,
    functions,
    parse,
    symbols,
    walk,
)
from systems.families import unroll
from systems.lower import delayed_name, evaluate, jax_table, numpy_table

Edition = Literal["corrected", "dysts"]
Backend = Literal["numpy", "compiled", "jax"]
Field = Callable[..., Any]  # f(states, time=0.0): (..., dim) → (..., dim)

CATALOG = Path(__file__).with_name("catalog.json")
# What was measured of one edition: the other edition's entry does not fill its gaps.
MEASURED = (
    "lyapunov_spectrum",
    "lyapunov_spectrum_error",
    "measured",
    "exceptions",
    "calibration",
    "certified_horizon",
    "certificates",
)
SCHEMA = Path(__file__).with_name("catalog.schema.json")


class UnknownSystemError(KeyError):
    """A name that the catalog does not hold."""

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


class CatalogError(ValueError):
    """A catalog entry that breaks a rule: the rule, what arrived, what to do."""


@dataclass(frozen=True)
class Delay:
    """A delayed state that the equations read: state number `state` at time t - `tau`."""

    name: str
    state: int
    tau: float


@dataclass(frozen=True)
class System:
    """One dynamical system: equations as text, parameters, and what was measured of it.

    Times (`period`, `lyapunov_time`) are in the system's own time unit, exponents in its inverse.
    """

    name: str
    states: tuple[str, ...]
    equations: Mapping[str, str]
    parameters: Mapping[str, float]
    initial: tuple[float, ...]
    period: float
    lets: Mapping[str, str] = field(default_factory=dict)
    observe: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    description: str = ""
    reference: str = ""
    edition: Edition = "corrected"
    erratum: str = ""
    lyapunov_spectrum: tuple[float, ...] = ()
    lyapunov_spectrum_error: tuple[float, ...] = ()
    certified_horizon: Mapping[str, float] = field(
        default_factory=dict
    )  # precision → Lyapunov times
    certificates: Mapping[str, Any] = field(
        default_factory=dict
    )  # precision → how it was certified
    measured: Mapping[str, Any] = field(default_factory=dict)  # catalog.schema.json names its parts
    exceptions: Mapping[str, str] = field(default_factory=dict)  # gate of gates.py → why not
    calibration: Mapping[str, Any] = field(default_factory=dict)  # how and of what it was measured

    @property
    def dimension(self) -> int:
        return len(self.states)

    @property
    def observables(self) -> tuple[str, ...]:
        """Names of the observed coordinates: the states, or bounded functions of them."""
        return tuple(self.observe) or self.states

    @property
    def lyapunov_time(self) -> float:
        """1/λ₁ in system time; inf for an entry that is not chaotic; nan where it is not known."""
        if not self.lyapunov_spectrum:
            return math.nan
        return 1.0 / self.lyapunov_spectrum[0] if "chaotic" in self.tags else math.inf

    @cached_property
    def equations_hash(self) -> str:
        """Hex digest of the vector field: what a measured exponent belongs to."""
        facts = {
            "states": self.states,
            "equations": [self.equations[state] for state in self.states],
            "lets": list(self.lets.items()),
            "parameters": sorted((name, float(value)) for name, value in self.parameters.items()),
        }
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    @cached_property
    def calibration_hash(self) -> str:
        """Hex digest of all that measured facts belong to: the vector field, the initial state (of
        several attractors, its own is measured) and the observed coordinates."""
        facts = {
            "equations": self.equations_hash,
            "initial": self.initial,
            "observe": list(self.observe.items()),
        }
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    @cached_property
    def hash(self) -> str:
        """Hex digest of all in this entry that determines its trajectories."""
        facts = {
            "equations": self.equations_hash,
            "observe": list(self.observe.items()),
            "initial": self.initial,
            "period": self.period,
        }
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def with_parameters(self, **parameters: float) -> "System":
        """The system at other parameters. What was measured (spectrum, horizon, dimensions, …) no
        longer holds and is dropped; `period` stays, as the sampling scale."""
        for name, value in parameters.items():
            if name not in self.parameters:
                raise CatalogError(
                    f"{self.name}: `{name}` is not a parameter."
                    f"{_suggestion(name, self.parameters)} There are {', '.join(self.parameters)}."
                )
            if not math.isfinite(value):
                raise CatalogError(f"{self.name}: `{name}` is a finite number; {value} arrived.")
        changed = {**self.parameters, **{name: float(value) for name, value in parameters.items()}}
        return dataclasses.replace(
            self,
            parameters=changed,
            lyapunov_spectrum=(),
            lyapunov_spectrum_error=(),
            certified_horizon={},
            certificates={},
            measured={},
            exceptions={},
            calibration={},
        )

    # ---- trees -------------------------------------------------------------------------------

    @cached_property
    def let_trees(self) -> dict[str, Expr]:
        known = [*self.states, *self.parameters, TIME]
        trees = {}
        for name, text in self.lets.items():
            trees[name] = self._tree(text, f"{self.name}.{name}", known)
            known.append(name)
        return trees

    @cached_property
    def equation_trees(self) -> tuple[Expr, ...]:
        """One tree a state, in the order of `states`."""
        known = [*self.states, *self.parameters, *self.let_trees, TIME]
        missing = [state for state in self.states if state not in self.equations]
        if missing or len(self.equations) != len(self.states):
            raise EquationError(
                f"{self.name}: one equation for each state ({', '.join(self.states)}), "
                f"but equations for {', '.join(self.equations)} arrived."
            )
        return tuple(
            self._tree(self.equations[state], f"{self.name}.{state}", known)
            for state in self.states
        )

    @cached_property
    def observe_trees(self) -> dict[str, Expr]:
        known = [*self.states, *self.parameters, *self.let_trees, TIME]
        texts = self.observe or {state: state for state in self.states}
        trees = {
            name: self._tree(text, f"{self.name}.observe.{name}", known)
            for name, text in texts.items()
        }
        for name, tree in trees.items():
            lets = [self.let_trees[let] for let in self._lets_of((tree,)) if let in self.let_trees]
            if any("delay" in functions(part) for part in (tree, *lets)):
                raise EquationError(
                    f"{self.name}.observe.{name}: what is observed is a function of the present "
                    "state, but a delayed state is in it."
                )
        return trees

    def _tree(self, text: str, where: str, known: list[str]) -> Expr:
        tree = parse(text, where)
        check_known(tree, known, where)
        return tree

    @cached_property
    def delays(self) -> tuple[Delay, ...]:
        """The delayed states that the equations read, in order of first appearance."""
        found: dict[str, Delay] = {}
        for tree in (*self.let_trees.values(), *self.equation_trees):
            for part in walk(tree):
                if isinstance(part, Apply) and part.function == "delay":
                    delay = self._delay(part)
                    found.setdefault(delay.name, delay)
        return tuple(found.values())

    def _delay(self, part: Apply) -> Delay:
        state = next(iter(symbols(part.arguments[0])))
        where = f"{self.name}: `{delayed_name(part)}`"
        if state not in self.states:
            raise EquationError(f"{where} delays `{state}`, which is not a state.")
        check_known(part.arguments[1], self.parameters, where)
        tau = float(evaluate(part.arguments[1], self.parameters, numpy_table()))
        if not (tau > 0 and math.isfinite(tau)):
            raise EquationError(f"{where} has the delay {tau:g}; delays are positive and finite.")
        return Delay(delayed_name(part), self.states.index(state), tau)

    @cached_property
    def discontinuous(self) -> bool:
        """Whether the right-hand side jumps somewhere (it uses `sign` or `heaviside`)."""
        trees = (*self.let_trees.values(), *self.equation_trees)
        return any({"sign", "heaviside"} & functions(tree) for tree in trees)

    @cached_property
    def reads_time(self) -> bool:
        """Whether the equations read the time itself (a driven system with a clock state does not).
        A look at the text, as parsing takes longer than loading machine code."""
        texts = (*self.lets.values(), *self.equations.values())
        return any(re.search(rf"\b{TIME}\b", text) for text in texts)

    # ---- functions ---------------------------------------------------------------------------

    def rhs(self, backend: Backend = "numpy") -> Field:
        """f(states, time=0.0) → time derivatives, (…, dim) → (…, dim), at this system's parameters.

        A delay system's f takes the delayed states, (…, delays) in the order of `delays`, as third
        argument. "numpy" and "jax" evaluate the tree; "compiled" calls the machine code that the
        integrator uses.
        """
        match backend:
            case "numpy":
                return lambda states, time=0.0, delayed=None: self._stacked(
                    np, self.equation_trees, np.asarray(states, dtype=float), time, delayed
                )
            case "jax":
                import jax.numpy as jnp

                return lambda states, time=0.0, delayed=None: self._stacked(
                    jnp, self.equation_trees, states, time, delayed
                )
            case "compiled":
                from systems.integrate import compiled_field

                return compiled_field(self)
        raise CatalogError(f"backends are numpy, compiled and jax; {backend!r} arrived.")

    def jacobian(self, backend: Backend = "numpy") -> Field:
        """J(states, time=0.0) → (…, dim, dim), the derivatives of `rhs` by the states (exact, via
        sympy); a delay system's J takes the delayed states too and holds them fixed."""
        from systems.calculus import jacobian

        return jacobian(self, backend)

    def latex(self) -> str:
        """The equations as a LaTeX `aligned` block."""
        from systems.calculus import latex

        return latex(self)

    def observed(
        self, states: Float[np.ndarray, "*batch dim"], time: Any = 0.0
    ) -> Float[np.ndarray, "*batch observed"]:
        """The observed coordinates of raw states."""
        if not self.observe:
            return states
        return self._stacked(np, tuple(self.observe_trees.values()), states, time, None)

    def check_states(self, states: Any) -> None:
        """Raise `ValueError` unless `states` is (…, dim)."""
        if states.shape[-1:] != (self.dimension,):
            raise ValueError(
                f"{self.name}: states are (…, {self.dimension}); "
                f"an array of shape {states.shape} arrived."
            )

    def check_delayed(self, delayed: Any) -> None:
        """Raise `ValueError` unless a delay system got its delayed states, (…, delays)."""
        if self.delays and (delayed is None or delayed.shape[-1:] != (len(self.delays),)):
            past = ", ".join(delay.name for delay in self.delays)
            raise ValueError(
                f"{self.name}: the third argument is the delayed states ({past}), "
                f"an array of shape (…, {len(self.delays)})."
            )

    def _stacked(
        self, xp: Any, trees: tuple[Expr, ...], states: Any, time: Any, delayed: Any
    ) -> Any:
        self.check_states(states)
        if trees is self.equation_trees:
            self.check_delayed(delayed)
        table = numpy_table() if xp is np else jax_table()
        env: dict[str, Any] = {**self.parameters, TIME: time}
        env.update((name, states[..., i]) for i, name in enumerate(self.states))
        if delayed is not None:
            env.update((d.name, delayed[..., i]) for i, d in enumerate(self.delays))
        used = self._lets_of(trees)
        with np.errstate(all="ignore"):
            for name, tree in self.let_trees.items():
                if name in used:
                    env[name] = evaluate(tree, env, table)
            columns = [evaluate(tree, env, table) for tree in trees]
        shape = states.shape[:-1]
        return xp.stack([xp.broadcast_to(xp.asarray(c), shape) for c in columns], axis=-1)

    def _lets_of(self, trees: tuple[Expr, ...]) -> set[str]:
        """The `let` lines that `trees` need, directly or through each other."""
        used = set().union(*(symbols(tree) for tree in trees))
        for name, tree in reversed(self.let_trees.items()):
            if name in used:
                used |= symbols(tree)
        return used

    def trajectory(self, n: int, **options: Any) -> Any:
        """`systems.generate.trajectory` of this system: n points on the attractor."""
        from systems.generate import trajectory

        return trajectory(self, n, **options)

    def stream(self, n: int, **options: Any) -> Any:
        """`systems.streaming.stream` of this system: its trajectory piece by piece."""
        from systems.streaming import stream

        return stream(self, n, **options)


def names(tag: str | None = None) -> list[str]:
    """The systems of the catalog, in alphabetical order; with `tag`, those that bear it.

    Raises `CatalogError` for a tag that catalog.schema.json does not know.
    """
    entries = _entries()
    tags = _schema()["$defs"]["tag"]["enum"] if tag is not None else ()
    if tag is not None and tag not in tags:
        raise CatalogError(
            f"`{tag}` is not a tag.{_suggestion(tag, tags)} Tags: {', '.join(tags)}."
        )
    return [name for name in entries if tag is None or tag in entries[name].get("tags", ())]


def load(name: str, edition: Edition = "corrected", *, size: int | None = None) -> System:
    """The system `name` of the built-in catalog, or of an installed package (systems.outside).

    `corrected` (default) holds the right equations; `dysts` what dysts 0.96 computes. `size` is
    that of a family (Lorenz96 with 40 sites); at a size that is not the entry's own nothing has
    been measured, and `period` stays, as the sampling scale. Raises `UnknownSystemError` with the
    closest names.
    """
    entries = _entries()
    if name not in entries:
        from systems.outside import outside_entries

        outside = outside_entries()
        if name in outside:
            return from_entry(name, outside[name], edition, size=size)
        raise UnknownSystemError(
            f"`{name}` is not in the catalog of {len(entries)} systems."
            f"{_suggestion(name, [*entries, *outside])} `systems.names()` lists them."
        )
    return from_entry(name, entries[name], edition, size=size)


def load_file(path: str | Path, edition: Edition = "corrected") -> dict[str, System]:
    """The systems of a user's JSON file ({"systems": {name: entry}}), every rule checked.

    Raises `CatalogError` or `EquationError`, which name the entry and the rule.
    """
    entries = checked_entries(Path(path))
    return {name: from_entry(name, entry, edition) for name, entry in entries.items()}


def checked_entries(path: Path) -> dict[str, Any]:
    """The entries of a JSON file by name, every rule checked in both editions; raises as
    `load_file`."""
    try:
        # whole numbers as floats: one of 400 digits is inf, which the rules below refuse
        document = json.loads(path.read_text(encoding="utf-8"), parse_int=float)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{path}: not JSON ({error}).") from None
    validate(document, str(path))
    entries = dict(document["systems"])
    for name, entry in entries.items():
        for edition in get_args(Edition):
            check_system(from_entry(name, entry, edition))
    return entries


def from_entry(
    name: str,
    entry: Mapping[str, Any],
    edition: Edition = "corrected",
    *,
    size: int | None = None,
) -> System:
    """The System of one catalog entry in one edition; of a family, at one size."""
    if edition not in ("corrected", "dysts"):
        raise CatalogError(f"editions are corrected and dysts; {edition!r} arrived.")
    patch = entry.get("dysts", {})
    if edition == "dysts" and patch:
        shared = {key: value for key, value in entry.items() if key not in MEASURED}
        entry = merge_patch(shared, {key: value for key, value in patch.items() if key != "why"})
    if size is not None:
        entry = _resized(name, entry, size)
    name, entry = unroll(name, entry, size)
    return System(
        name=name,
        states=tuple(entry["states"]),
        equations=dict(entry["equations"]),
        parameters={key: float(value) for key, value in entry["parameters"].items()},
        initial=tuple(float(value) for value in entry["initial"]),
        period=float(entry["period"]),
        lets=dict(entry.get("let", {})),
        observe=dict(entry.get("observe", {})),
        tags=tuple(entry.get("tags", ())),
        description=entry.get("description", ""),
        reference=entry.get("reference", ""),
        edition=edition,
        erratum=patch.get("why", ""),
        lyapunov_spectrum=tuple(entry.get("lyapunov_spectrum", ())),
        lyapunov_spectrum_error=tuple(entry.get("lyapunov_spectrum_error", ())),
        certified_horizon=dict(entry.get("certified_horizon", {})),
        certificates=dict(entry.get("certificates", {})),
        measured=dict(entry.get("measured", {})),
        exceptions=dict(entry.get("exceptions", {})),
        calibration=dict(entry.get("calibration", {})),
    )


def _resized(name: str, entry: Mapping[str, Any], size: int) -> Mapping[str, Any]:
    """The entry without what was measured of another size."""
    if "family" not in entry:
        families = [other for other, it in _entries().items() if "family" in it]
        raise CatalogError(
            f"{name} has no `family` in its entry, and so no other size. "
            f"Those of the catalog are {', '.join(families)}."
        )
    if size == entry["family"]["size"]:
        return entry
    return {key: value for key, value in entry.items() if key not in MEASURED}


def merge_patch(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7396): objects merge key by key, null removes, the rest replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def validate(document: Any, where: str = "catalog") -> None:
    """Raise `CatalogError` unless `document` keeps catalog.schema.json (patches included)."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(_schema())
    documents = [document]
    if isinstance(document, Mapping) and isinstance(document.get("systems"), Mapping):
        documents.append({"systems": {n: _patched(e) for n, e in document["systems"].items()}})
    for candidate in documents:
        error = jsonschema.exceptions.best_match(validator.iter_errors(candidate))
        if error is not None:
            place = ".".join(str(part) for part in error.absolute_path)
            raise CatalogError(f"{where}: {place or 'the document'}: {error.message[:300]}")


def _patched(entry: Any) -> Any:
    if not (isinstance(entry, Mapping) and isinstance(entry.get("dysts"), Mapping)):
        return entry
    patch = {key: value for key, value in entry["dysts"].items() if key != "why"}
    return {**merge_patch(entry, patch), "dysts": entry["dysts"]}


def check_system(system: System) -> None:
    """Raise `EquationError` or `CatalogError` at the first rule that `system` breaks.

    Rules: names are distinct and not reserved; every parameter and `let` is used; one equation and
    one initial value for each state; all expressions parse over known names; numbers are finite.
    """
    taken: set[str] = set()
    for kind, kind_names in (
        ("state", system.states),
        ("parameter", system.parameters),
        ("let", system.lets),
    ):
        for name in kind_names:
            if name in RESERVED:
                raise EquationError(f"{system.name}: the {kind} `{name}` has a reserved name.")
            if name in taken:
                raise EquationError(f"{system.name}: the {kind} `{name}` shadows another name.")
            taken.add(name)
    used: set[str] = set()
    for tree in (*system.let_trees.values(), *system.equation_trees):
        used |= symbols(tree)
    for name in [*system.parameters, *system.lets]:
        if name not in used:
            raise EquationError(f"{system.name}: `{name}` is never used. Remove it.")
    _ = system.delays, system.observe_trees  # reading them parses and checks them
    if len(system.initial) != system.dimension:
        raise CatalogError(
            f"{system.name}: one initial value for each of {system.dimension} states, "
            f"but {len(system.initial)} arrived."
        )
    numbers = [*system.parameters.values(), *system.initial, system.period]
    if not all(math.isfinite(number) for number in numbers):
        raise CatalogError(f"{system.name}: parameters, initial values and period are finite.")
    if not system.period > 0:
        raise CatalogError(f"{system.name}: the period is positive; {system.period:g} arrived.")


def write(systems: Mapping[str, Any], path: Path = CATALOG) -> None:
    """Write a catalog with one line a list and short object, so that a change is a short diff."""
    text = _text({"version": 1, "systems": systems}, 0) + "\n"
    temporary = path.with_suffix(".json.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _text(value: Any, indent: int) -> str:
    if not isinstance(value, Mapping) or not value:
        return json.dumps(value, ensure_ascii=False)
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent < 96 and not any(isinstance(v, str | Mapping) for v in value.values()):
        return flat
    lines = [
        f"{' ' * (indent + 2)}{json.dumps(key, ensure_ascii=False)}: {_text(inner, indent + 2)}"
        for key, inner in value.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"


@cache
def _schema() -> dict[str, Any]:
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


@cache
def _entries() -> dict[str, Any]:
    return json.loads(CATALOG.read_text(encoding="utf-8"))["systems"]


def _suggestion(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(f'`{other}`' for other in close)}?" if close else ""
