"""Families of any size: indexed states and equations, written out before any tree is made.

An entry with a `family` is a pattern. With {"index": "i", "size": 4, "boundary": "cyclic"} the
state `x[i]` stands for x1, x2, x3, x4, and one equation for all of them:

    "x[i]": "(x[i+1] - x[i-2])*x[i-1] - x[i] + f"     x1: (x2 - x3)*x4 - x1 + f, …

- `x[e]` is element number e, counted from 1; e is whole-number arithmetic (+ - * // %) of the
  index, the size `N` and the indices of sums. `boundary` says what lies outside 1 … N: "cyclic",
  "nearest" (the state at the edge), or a number (the value of every state there); without it
  that is an error.
- Elsewhere in a text the index and `N` are numbers.
- `sum(j, from, to, term)` is the sum of the terms, j running from `from` to `to`.
- `let` and `observe` lines are indexed like states. `family.parameters` gives indexed parameters
  and `family.initial` the initial states, each by a rule in the index, `N` and the parameters; a
  list of numbers in `initial` beside it holds for the size in the entry.
- "x[1]" and "x[N]" among the equations replace the pattern there.

Texts are rewritten, not evaluated; what comes out is parsed and checked like any other entry.
"""

import ast
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from systems.expr import MAX_DEPTH, MAX_LENGTH, RESERVED, EquationError, check_known, parse
from systems.lower import evaluate, numpy_table

MAX_SIZE = 1024  # elements, and states in all
MAX_INDEX = 10**6
SIZE = "N"
SUM = "sum"
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INDEXED = re.compile(r"([A-Za-z][A-Za-z0-9_]*)\s*\[(.*)\]")


def unroll(
    name: str, entry: Mapping[str, Any], size: int | None = None
) -> tuple[str, Mapping[str, Any]]:
    """The plain entry of a family at `size` (default: the entry's own), and the system's name.

    At another size the name gets it as an ending. An entry that is no family comes back as it is.
    Raises `EquationError` for a pattern that breaks a rule of this module.
    """
    if "family" not in entry:
        for key in ("states", "equations", "let", "observe"):
            for indexed in entry.get(key, ()):
                if "[" in indexed:
                    raise EquationError(
                        f"{name}.{key}: `{indexed}` is indexed, but the entry has no `family`."
                    )
        return name, entry
    default = int(entry["family"]["size"])
    chosen = default if size is None else size
    if isinstance(chosen, bool) or not isinstance(chosen, int) or not 1 <= chosen <= MAX_SIZE:
        raise EquationError(
            f"{name}: a size is a whole number from 1 to {MAX_SIZE}; {chosen!r} arrived."
        )
    if chosen != default:
        name = f"{name}_{chosen}"
    pattern = _Pattern(name, entry, chosen)
    plain = {key: value for key, value in entry.items() if key != "family"}
    plain["states"] = pattern.states()
    plain["parameters"] = pattern.parameters()
    plain["equations"] = pattern.lines("equations")
    for key in ("let", "observe"):
        if key in entry:
            plain[key] = pattern.lines(key)
    pattern.prune(plain)
    if chosen != default or "initial" not in entry:
        plain["initial"] = pattern.initial(plain["states"])
    return name, plain


@dataclass
class _Pattern:
    """A family at one size: what is indexed, and how its texts are filled in."""

    name: str
    entry: Mapping[str, Any]
    size: int
    index: str = ""
    kinds: dict[str, str] = field(default_factory=dict)  # indexed name → state, let or parameter

    def __post_init__(self) -> None:
        family = self.entry["family"]
        self.index = family["index"]
        scalars = {*self.entry["parameters"], *self.entry.get("let", ()), *self.entry["states"]}
        for reserved in (self.index, SIZE, SUM):
            if reserved in scalars:
                raise EquationError(
                    f"{self.name}: `{reserved}` is a word of the family; give another name."
                )
        if self.index in RESERVED or self.index in (SIZE, SUM):
            raise EquationError(f"{self.name}: the index `{self.index}` has a reserved name.")
        for kind, names in (
            ("state", self.entry["states"]),
            ("let", self.entry.get("let", ())),
            ("parameter", family.get("parameters", ())),
        ):
            for written in names:
                base, inside = self._split(written, kind)
                if inside is not None:
                    self.kinds[base] = kind
        if "state" not in self.kinds.values():
            raise EquationError(f"{self.name}: no state of the family is indexed, as `x[i]` is.")

    # ---- the parts of an entry ---------------------------------------------------------------

    def states(self) -> list[str]:
        found = [name for written in self.entry["states"] for name, _ in self._names(written)]
        if len(found) > MAX_SIZE:
            raise EquationError(
                f"{self.name}: at most {MAX_SIZE} states; {len(found)} come of size {self.size}."
            )
        if len(set(found)) < len(found):
            raise EquationError(f"{self.name}: states of the family get the same name.")
        return found

    def parameters(self) -> dict[str, float]:
        values = dict(self.entry["parameters"])
        rules = self.entry["family"].get("parameters", {})
        for written, rule in rules.items():
            if self._split(written, "parameter")[1] is None:
                raise EquationError(
                    f"{self.name}.family.parameters: `{written}` has no index; it belongs to "
                    "`parameters`."
                )
            for name, env in self._names(written):
                self._fresh(name, values)
                values[name] = self._number(rule, env, f"{self.name}.{name}")
        return values

    def initial(self, states: list[str]) -> list[float]:
        rules = self.entry["family"].get("initial", {})
        values = {
            name: self._number(rule, env, f"{self.name}.initial.{name}")
            for written, rule in rules.items()
            for name, env in self._names(written)
        }
        for state in states:
            if state not in values:
                raise EquationError(
                    f"{self.name}.family.initial: no rule for the state `{state}` at size "
                    f'{self.size}. Write one, as in {{"x[{self.index}]": "sin({self.index})"}}.'
                )
        return [values[state] for state in states]

    def lines(self, key: str) -> dict[str, str]:
        """The texts under `key`, one for each element; a single element replaces the pattern."""
        lines: dict[str, str] = {}
        single = set()
        for written, text in self.entry[key].items():
            template = _Template(text, f"{self.name}.{written}", self)
            is_pattern = self._split(written, key)[1] == self.index
            for name, env in self._names(written):
                if is_pattern and name in single:
                    continue
                if not is_pattern:
                    single.add(name)
                elif name in lines:
                    raise EquationError(f"{self.name}.{key}: `{name}` is given twice.")
                lines[name] = template.at(env)
        return lines

    def prune(self, plain: dict[str, Any]) -> None:
        """Drop elements of indexed parameters and lets that no text mentions where others of the
        same name are used: a single equation that replaces the pattern may leave its own out."""
        used: set[str] = set()
        for text in (*plain["equations"].values(), *plain.get("observe", {}).values()):
            used.update(_WORD.findall(text))
        for name, text in reversed(plain.get("let", {}).items()):
            if name in used:
                used.update(_WORD.findall(text))
        for key, kind in (("parameters", "parameter"), ("let", "let")):
            for base in (base for base, its_kind in self.kinds.items() if its_kind == kind):
                elements = {f"{base}{i}" for i in range(1, self.size + 1)}
                if elements & used:
                    for name in elements - used:
                        plain[key].pop(name, None)

    # ---- names and elements ------------------------------------------------------------------

    def _split(self, written: str, kind: str) -> tuple[str, str | None]:
        """`x[i]` → x, i;  `x` → x, None. Only lines may name single elements."""
        found = _INDEXED.fullmatch(written)
        if found is None:
            return written, None
        base, inside = found[1], found[2].strip()
        if inside != self.index and kind in ("state", "let", "parameter"):
            raise EquationError(
                f"{self.name}: the {kind} `{written}` is declared with the family's index, "
                f"`{base}[{self.index}]`."
            )
        return base, inside

    def _names(self, written: str) -> list[tuple[str, dict[str, int]]]:
        """The plain names of `x[i]`, `x[N]` or `x`, each with what the index and N are there."""
        base, inside = self._split(written, "line")
        fixed = {SIZE: self.size}
        if inside is None:
            return [(written, fixed)]
        if inside == self.index:
            return [(f"{base}{i}", fixed | {self.index: i}) for i in range(1, self.size + 1)]
        where = f"{self.name}.{written}"
        number = _whole(_parsed(inside, where), fixed, where)
        if not 1 <= number <= self.size:
            raise EquationError(f"{where}: elements are 1 to {self.size}; {number} arrived.")
        return [(f"{base}{number}", fixed | {self.index: number})]

    def element(self, base: str, number: int, where: str) -> str:
        """The text that stands for element `number`, by the boundary where it lies outside."""
        if base not in self.kinds:
            close = difflib.get_close_matches(base, list(self.kinds), n=1)
            hint = f" Did you mean `{close[0]}`?" if close else ""
            raise EquationError(
                f"{where}: `{base}[…]` is not an indexed state, let or parameter.{hint}"
            )
        if 1 <= number <= self.size:
            return f"{base}{number}"
        boundary = self.entry["family"].get("boundary")
        if boundary == "cyclic":
            return f"{base}{(number - 1) % self.size + 1}"
        if boundary == "nearest":
            return f"{base}{min(max(number, 1), self.size)}"
        if boundary is None:
            raise EquationError(
                f"{where}: element {number} of `{base}` lies outside 1 to {self.size}. Give the "
                'family a `boundary`: "cyclic", "nearest" or a number.'
            )
        if self.kinds[base] != "state":
            raise EquationError(
                f"{where}: the boundary {boundary:g} is the value of states, but element {number} "
                f"of the {self.kinds[base]} `{base}` lies outside 1 to {self.size}."
            )
        return _literal(boundary)

    def _number(self, rule: str, env: Mapping[str, int], where: str) -> float:
        tree = parse(_Template(rule, where, self).at(env), where)
        scalars = self.entry["parameters"]
        check_known(tree, scalars, where)
        with np.errstate(all="ignore"):
            values = {name: float(value) for name, value in scalars.items()}
            value = float(evaluate(tree, values, numpy_table()))
        if not math.isfinite(value):
            raise EquationError(f"{where}: `{rule}` is {value} there; values are finite.")
        return value

    def _fresh(self, name: str, taken: Mapping[str, Any]) -> None:
        if name in taken:
            raise EquationError(f"{self.name}: the parameter `{name}` shadows another name.")


class _Template:
    """A text with indices, parsed once and filled in for every element."""

    def __init__(self, text: str, where: str, pattern: _Pattern) -> None:
        if not isinstance(text, str):
            raise EquationError(f"{where}: a rule is a text; a {type(text).__name__} arrived.")
        self.text = " ".join(text.strip().splitlines())
        self.where, self.pattern = where, pattern
        self.source = self.text.encode()  # ast counts columns in bytes
        self.tree = _parsed(self.text, where)

    def at(self, env: Mapping[str, int]) -> str:
        filled = self._fill(self.tree, env, 0)
        # what surrounds the outermost node are parentheses and blanks
        start, end = self.tree.col_offset, self.tree.end_col_offset
        return f"{self.source[:start].decode()}{filled}{self.source[end:].decode()}"

    def _fill(self, node: ast.AST, env: Mapping[str, int], depth: int) -> str:
        """The text of `node` with its indices, sums and elements filled in."""
        if depth > MAX_DEPTH:
            raise EquationError(f"{self.where}: nested deeper than {MAX_DEPTH} levels.")
        match node:
            case ast.Name(id=name) if name in env:
                return _literal(env[name])
            case ast.Subscript(value=ast.Name(id=base), slice=inside):
                number = _whole(inside, env, self.where)
                return self.pattern.element(base, number, self.where)
            case ast.Call(func=ast.Name(id="sum"), args=arguments, keywords=[]):
                return self._sum(arguments, env, depth)
        parts, done = [], getattr(node, "col_offset", 0)
        for child in sorted(_expressions(node), key=lambda child: child.col_offset):
            parts.append(self.source[done : child.col_offset].decode())
            parts.append(self._fill(child, env, depth + 1))
            done = child.end_col_offset or 0
        parts.append(self.source[done : getattr(node, "end_col_offset", 0)].decode())
        return self._bounded("".join(parts))

    def _sum(self, arguments: list[ast.expr], env: Mapping[str, int], depth: int) -> str:
        match arguments:
            case [ast.Name(id=index), first, last, term] if index not in (SIZE, *RESERVED):
                pass
            case _:
                raise EquationError(
                    f"{self.where}: a sum is written sum(j, from, to, term) with an index of its "
                    "own name."
                )
        if index in env or index in self.pattern.entry["parameters"]:
            raise EquationError(f"{self.where}: the sum's index `{index}` is taken.")
        low, high = (_whole(bound, env, self.where) for bound in (first, last))
        terms: list[str] = []
        length = 0
        atom = isinstance(term, ast.Name | ast.Subscript | ast.Call | ast.Constant)
        for value in range(low, high + 1):
            filled = self._fill(term, {**env, index: value}, depth + 1)
            terms.append(filled if atom else f"({filled})")
            length += len(terms[-1])
            if length > MAX_LENGTH:
                break
        return self._bounded(f"({_balanced(terms)})" if terms else "0")

    def _bounded(self, text: str) -> str:
        if len(text) > MAX_LENGTH:
            raise EquationError(
                f"{self.where}: at most {MAX_LENGTH} characters, but more come of size "
                f"{self.pattern.size}. Split it into `let` lines."
            )
        return text


def _expressions(node: ast.AST) -> list[ast.expr]:
    children = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    if isinstance(node, ast.Call):
        children.remove(node.func)  # a function's name is no index
    return children


def _balanced(terms: list[str]) -> str:
    """A sum whose tree is shallow: a plain sum of n terms is n levels deep."""
    if len(terms) <= 8:
        return " + ".join(terms)
    size = 8 ** (math.ceil(math.log(len(terms), 8)) - 1)
    groups = [terms[i : i + size] for i in range(0, len(terms), size)]
    return " + ".join(f"({_balanced(group)})" if len(group) > 1 else group[0] for group in groups)


def _parsed(text: str, where: str) -> ast.expr:
    if len(text) > MAX_LENGTH:
        raise EquationError(
            f"{where}: at most {MAX_LENGTH} characters, but {len(text)} arrived. "
            "Split it into `let` lines."
        )
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise EquationError(f"{where}: `{text[:80]}` is not an expression ({reason}).") from None


def _whole(node: ast.expr, env: Mapping[str, int], where: str, depth: int = 0) -> int:
    """A whole number from arithmetic of whole numbers and indices."""
    value: int | None = None
    if depth <= MAX_DEPTH:
        match node:
            case ast.Constant(value=int() as number) if not isinstance(number, bool):
                value = number
            case ast.Name(id=name) if name in env:
                value = env[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = -_whole(operand, env, where, depth + 1)
            case ast.BinOp(op=op, left=left, right=right):
                value = _combined(
                    op,
                    _whole(left, env, where, depth + 1),
                    _whole(right, env, where, depth + 1),
                )
    if value is None or abs(value) > MAX_INDEX:
        raise EquationError(
            f"{where}: `{ast.unparse(node)[:80]}` is no index: whole numbers up to {MAX_INDEX}, "
            f"{', '.join(env)} and + - * // % between them."
        )
    return value


def _combined(op: ast.operator, left: int, right: int) -> int | None:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.FloorDiv() if right != 0:
            return left // right
        case ast.Mod() if right != 0:
            return left % right
    return None


def _literal(value: float) -> str:
    return f"({value!r})" if value < 0 else repr(value)
