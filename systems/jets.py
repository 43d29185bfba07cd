"""Tree → one step of a Taylor integrator, as LLVM IR for several trajectories at once.

The solution's Taylor coefficients follow from those of every subexpression by recurrences, one
order after the other (automatic differentiation; Jorba and Zou 2005, Experimental Mathematics 14,
99; Haro et al. 2016, The Parameterization Method, 2.3). Arithmetic is that of `systems.lanes`.

A step is a function

    void step(double log2_tolerance, ptr states, ptr clock, ptr parameters, ptr coefficients)

of `width` lanes, each with a step length of its own. In memory, lanes stand side by side:
`states` holds for each state its high and its low part and the largest magnitude that it has had;
`clock` the time and then the length of the step; `coefficients` for each stored subexpression, the
states first, `ORDERS + 1` values (of one or two doubles).
"""

import ctypes
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from systems import llvm, machine_code
from systems.catalog import System
from systems.lanes import Code, Doubles, Precision, Value, arithmetic
from systems.series_graph import PARTNERS, Graph
from systems.taylor_kernel import POINTS

# what no Taylor series can cross, or (exprel, at 0) what no recurrence can divide by
UNFIT = ("abs", "sign", "heaviside", "min", "max", "exprel", "delay")
# u/(1 - exp(-u)) written out, which is 0/0 at 0
REMOVABLE = re.compile(r"/\s*\(\s*1\s*-\s*exp\(")
MOST_STATES = 64  # 40 are compiled in 1.5 s, 128 in 10 s, 256 in minutes
# By how much the argument of a function may change in a step, in parts of the order. Where tanh is
# flat, say, its coefficients are below the rounding of everything else and nothing else would stop
# a step from leaping over its next slope: xⁿ/n! is small for x < n/4.
REACH = {"tanh": 1 / 8, "exp": 1 / 4, "sinh": 1 / 4, "cosh": 1 / 4}
ORDERS: Mapping[Precision, int] = {"double": 20, "double-double": 36}


def has_series(system: System) -> bool:
    """Whether Taylor coefficients of the solution follow from the equations by recurrences that are
    compiled in a few seconds."""
    if system.dimension > MOST_STATES:
        return False
    texts = (*system.lets.values(), *system.equations.values())
    return not (llvm.mentions(system, *UNFIT) or any(map(REMOVABLE.search, texts)))


@dataclass(frozen=True)
class Step:
    """The step of one system in memory, and what it takes to run it."""

    address: int
    series: int  # the address of the function that sums a lane's series
    coefficients: int  # doubles in memory
    dimension: int
    precision: Precision
    width: int
    parameters: tuple[float, ...]


def compile_step(
    system: System, precision: Precision, width: int, *, vectors: int = 0, orders: int | None = None
) -> Step:
    """The step of `system` for `width` trajectories as machine code; compiled once a process.

    With `vectors`, the state is followed by so many tangent vectors v, dv/dt = J v.
    """
    return compile_steps([system], precision, width, vectors=vectors, orders=orders)[0]


def compile_steps(
    systems: Sequence[System],
    precision: Precision,
    width: int,
    *,
    vectors: int = 0,
    orders: int | None = None,
) -> list[Step]:
    """The steps of many systems, those not yet compiled in one module."""
    orders = orders or ORDERS[precision]
    kind = f"{precision} {width} {vectors} {orders}"
    keys = [f"{llvm.identity(system)} {kind}" for system in systems]
    missing = {
        key: system for key, system in zip(keys, systems, strict=True) if key not in _compiled
    }
    if missing:
        graphs = (Graph(system, vectors) for system in missing.values())
        roles = ("step", "series", "size")
        found = machine_code.addresses(
            [f"{role}_{i}" for i in range(len(missing)) for role in roles],
            [machine_code.sources(*_SOURCES), *missing],
            lambda: _module(graphs, precision, width, orders),
        )
        size = ctypes.CFUNCTYPE(ctypes.c_int64)
        sizes = [size(address)() for address in found[2::3]]
        facts = zip(found[::3], found[1::3], sizes, strict=True)
        _compiled.update(zip(missing, facts, strict=True))
    return [
        Step(
            *_compiled[key],
            system.dimension * (1 + vectors),
            precision,
            width,
            tuple(system.parameters.values()),
        )
        for system, key in zip(systems, keys, strict=True)
    ]


_SOURCES = (
    "expr.py", "lower.py", "llvm.py", "calculus.py", "lanes.py", "series_graph.py", "jets.py"
)  # fmt: skip
_compiled: dict[str, tuple[int, int, int]] = {}


def _module(graphs: Iterable[Graph], precision: Precision, width: int, orders: int) -> str:
    external: set[str] = set()
    text = ""
    for i, graph in enumerate(graphs):
        writer = _Writer(graph, precision, width, orders)
        for role, code in (("step", writer.write()), ("series", writer.write_series())):
            external |= code.external
            text += llvm.definition(f"{role}_{i}", code.lines)
        text += f"define i64 @size_{i}() {{\n  ret i64 {writer.size}\n}}\n"
    return "\n".join(sorted(external)) + "\n" + text


class _Writer:
    """Writes the step of one system; `node` stands for its number in the graph, k for an order."""

    def __init__(self, graph: Graph, precision: Precision, width: int, orders: int) -> None:
        self.graph = graph
        self.code = Code()
        self.numbers = arithmetic(precision, self.code, width)
        self.orders = orders
        self.row = self.numbers.planes * width  # doubles of one coefficient
        self.slots = {node: slot for slot, node in enumerate(graph.remembered())}
        self.size = len(self.slots) * (self.orders + 1) * self.row
        self.first: dict[int, Value] = {}  # coefficients of order 0
        self.inverse: dict[int, Value] = {}

    def write(self) -> Code:
        self._values()
        code = self.code
        code.loop("1", str(self.orders), [], self._order)
        self._advance(self._length())
        return code

    # ---- memory ------------------------------------------------------------------------------

    def _at(self, pointer: str, index: int | str) -> str:
        return self.code.emit(f"getelementptr double, ptr {pointer}, i64 {index}")

    def _coefficient(self, node: int, order: int | str) -> str:
        """Where a coefficient is; `order` is a number, or the name of one."""
        base = self.slots[node] * (self.orders + 1) * self.row
        if isinstance(order, int):
            return self._at("%out", base + order * self.row)
        return self._at(self._at("%out", base), self.code.emit(f"mul i64 {order}, {self.row}"))

    def _keep(self, node: int, order: int | str, value: Value) -> None:
        if node in self.slots:
            self.numbers.store(value, self._coefficient(node, order))

    # ---- order 0 -----------------------------------------------------------------------------

    def _values(self) -> None:
        for node, (operation, *operands) in enumerate(self.graph.nodes):
            self.first[node] = self._value(operation, operands)
            self._keep(node, 0, self.first[node])
        for state, derivative in zip(self.graph.states, self.graph.derivatives, strict=True):
            self.numbers.store(self.first[derivative], self._coefficient(state, 1))
        for node, (operation, *operands) in enumerate(self.graph.nodes):
            if operation in ("/", "sqrt", "log", "power") and not self.graph.constant[node]:
                divisor = {"/": operands[-1], "sqrt": node}.get(operation, operands[0])
                value = self.first[divisor]
                if operation == "sqrt":
                    value = self.numbers.add(value, value)
                self.inverse[node] = self.numbers.divide(self.numbers.number(1.0), value)

    def _value(self, operation: str, operands: list[Any]) -> Value:
        numbers = self.numbers
        match operation:
            case "state":
                return numbers.load(self._at("%states", 3 * numbers.width * operands[0]))
            case "parameter":
                place = self._at("%parameters", operands[0])
                return numbers.spread(self.code.emit(f"load double, ptr {place}"))
            case "number":
                return numbers.number(operands[0])
            case "time":
                return numbers.load_doubles("%delayed")
        values = [self.first[i] for i in operands]
        match operation:
            case "+":
                return numbers.add(*values)
            case "-":
                return numbers.subtract(*values)
            case "*":
                return numbers.multiply(*values)
            case "/":
                return numbers.divide(*values)
            case "neg":
                return numbers.negate(*values)
            case "ramp":
                return numbers.number(0.0)
            case "power":
                return numbers.power(*values)
            case "slope":
                square = numbers.multiply(values[0], values[0])
                one = numbers.number(1.0)
                (a,) = operands
                if self.graph.nodes[a][0] == "tan":
                    return numbers.add(one, square)
                return numbers.subtract(one, square)
        return numbers.apply(operation, values[0])

    # ---- order k -----------------------------------------------------------------------------

    def _order(self, k: str, _: list[str]) -> list[str]:
        """Coefficients of order k of every node, then of order k + 1 of the states."""
        graph, numbers = self.graph, self.numbers
        one_over_k = numbers.one_over(k)
        now: dict[int, Value] = {}  # without the constants, where it is zero
        for level in range(max(graph.level) + 1):
            members = [i for i, other in enumerate(graph.level) if other == level]
            sums = [i for i in members if graph.is_sum[i]]
            totals: dict[int, Value] = {}
            for some in batched(sums):
                totals |= zip(some, self._sums(k, some), strict=True)
            for node in members:
                if node in totals:
                    now[node] = self._finished(node, totals[node], now, one_over_k)
                elif not graph.constant[node]:
                    now[node] = self._linear(node, now, k)
                if node in now:
                    self._keep(node, k, now[node])
        following = self.code.emit(f"add i64 {k}, 1")
        one_over_next = numbers.one_over(following)
        for state, derivative in zip(graph.states, graph.derivatives, strict=True):
            value = numbers.number(0.0)
            if derivative in now:
                value = numbers.multiply(now[derivative], one_over_next)
            numbers.store(value, self._coefficient(state, following))
        return []

    def _linear(self, node: int, now: Mapping[int, Value], k: str) -> Value:
        numbers, (operation, *operands) = self.numbers, self.graph.nodes[node]
        if operation == "state":
            return numbers.load(self._coefficient(node, k))
        if operation == "time":
            first = self.code.emit(f"icmp eq i64 {k}, 1")
            one = self.code.emit(f"select i1 {first}, double 1.0, double 0.0")
            return numbers.spread(one)
        a, b = operands[0], operands[-1]
        match operation:
            case "neg":
                return numbers.negate(now[a])
            case "ramp":
                return numbers.multiply(numbers.whole(k), now[a])
            case "*" if a in now:
                return numbers.multiply(now[a], self.first[b])
            case "*":
                return numbers.multiply(self.first[a], now[b])
            case "/":
                return numbers.multiply(now[a], self.inverse[node])
            case "+" if a in now and b in now:
                return numbers.add(now[a], now[b])
            case "-" if a in now and b in now:
                return numbers.subtract(now[a], now[b])
            case "-" if b in now:
                return numbers.negate(now[b])
        return now[a] if a in now else now[b]

    def _sums(self, k: str, nodes: Sequence[int]) -> list[Value]:
        """Σ_{0<j<k} of each node's products; the nodes share one loop over j."""
        code, numbers = self.code, self.numbers
        zero, kind = numbers.number(0.0), numbers.type
        carried = [(kind, part) for _ in nodes for part in zero]

        def body(j: str, parts: list[str]) -> list[str]:
            loaded: dict[Any, Value] = {}
            other = code.emit(f"sub i64 {k}, {j}")

            def at(order: str, node: int) -> Value:
                if (order, node) not in loaded:
                    loaded[order, node] = numbers.load(self._coefficient(node, order))
                return loaded[order, node]

            new: list[str] = []
            for number, node in enumerate(nodes):
                planes = numbers.planes
                total = tuple(parts[number * planes : (number + 1) * planes])
                factors = self._factors(node, j, other, at)
                new.extend(numbers.add_product(total, *factors))
            return new

        parts = code.loop("1", k, carried, body)
        values = [
            tuple(parts[i * numbers.planes : (i + 1) * numbers.planes]) for i in range(len(nodes))
        ]
        return [numbers.settle(value) for value in values]

    def _factors(self, node: int, j: str, other: str, at: Any) -> Any:
        """The factors of the product with index j in a node's sum; `other` is k - j."""
        graph, numbers = self.graph, self.numbers
        operation, a, *rest = graph.nodes[node]
        b = rest[0] if rest else a
        match operation:
            case "*":
                return at(j, a), at(other, b)
            case "/":
                return at(j, b), at(other, node)
            case "sqrt":
                return at(j, node), at(other, node)
            case "slope":
                return at(j, a), at(other, a)
            case "exp":
                return at(j, graph.find("ramp", a)), at(other, node)
            case "log":
                return at(j, graph.find("ramp", node)), at(other, a)
            case "tan" | "tanh":
                return at(j, graph.find("ramp", a)), at(other, graph.find("slope", node))
            case "power":
                exponent = numbers.multiply(self.first[b], numbers.whole(other))
                weight = numbers.subtract(exponent, numbers.whole(j))
                return numbers.multiply(weight, at(other, a)), at(j, node)
        return at(j, graph.find("ramp", a)), at(other, graph.find(PARTNERS[operation], a))

    def _finished(
        self, node: int, total: Value, now: Mapping[int, Value], one_over_k: Value
    ) -> Value:
        """The coefficient of order k, from its sum and the products with a factor of order 0."""
        graph, numbers, first = self.graph, self.numbers, self.first
        operation, a, *rest = graph.nodes[node]
        b = rest[0] if rest else a

        def plus(value: Value, x: Value, y: Value) -> Value:
            return numbers.settle(numbers.add_product(value, x, y))

        def times(x: Value, y: Value) -> Value:
            return numbers.multiply(x, y)

        match operation:
            case "*":
                return plus(plus(total, first[a], now[b]), now[a], first[b])
            case "/":
                total = plus(total, now[b], first[node])
                rest_ = numbers.subtract(now[a], total) if a in now else numbers.negate(total)
                return times(rest_, self.inverse[node])
            case "sqrt":
                return times(numbers.subtract(now[a], total), self.inverse[node])
            case "slope":
                total = plus(total, first[a], numbers.add(now[a], now[a]))
                return total if graph.nodes[a][0] == "tan" else numbers.negate(total)
        shared = times(total, one_over_k)
        match operation:
            case "log":
                return times(numbers.subtract(now[a], shared), self.inverse[node])
            case "power":
                leading = times(first[b], now[a])
                return times(plus(shared, leading, first[node]), self.inverse[node])
            case "tan" | "tanh":
                return plus(shared, now[a], first[graph.find("slope", node)])
            case "exp":
                return plus(shared, now[a], first[node])
        value = plus(shared, now[a], first[graph.find(PARTNERS[operation], a)])
        return numbers.negate(value) if operation == "cos" else value

    # ---- the step ----------------------------------------------------------------------------

    def _length(self) -> str:
        """The length at which the last two orders meet the tolerance, relative to the largest
        magnitude of each state: h = min (tolerance / max_i |c_i| / scale_i)^(1/order)."""
        numbers, op = self.numbers, self.numbers.op
        largest = {order: numbers.literal(1e-290) for order in (self.orders - 1, self.orders)}
        for i, state in enumerate(self.graph.states):
            place = self._at("%states", (3 * i + 2) * numbers.width)
            value, known = numbers.call("fabs", self.first[state][0]), numbers.load_one(place)
            scale = numbers.call("maxnum", value, known)
            numbers.store_one(scale, place)
            for order in largest:
                size = numbers.call("fabs", numbers.load_one(self._coefficient(state, order)))
                ratio = op("fdiv", size, scale)
                largest[order] = numbers.call("maxnum", largest[order], ratio)
        tolerance = numbers.spread("%t")[0]
        exponents = [
            op(
                "fmul",
                op("fsub", tolerance, numbers.log2_estimate(size)),
                numbers.literal(1.0 / order),
            )
            for order, size in largest.items()
        ]
        for node, (operation, *operands) in enumerate(self.graph.nodes):
            if operation in REACH and self.graph.is_sum[node]:
                exponents.append(self._reach(operands[0], REACH[operation] * self.orders))
        length = numbers.exp2_estimate(reduce(lambda a, b: numbers.call("minnum", a, b), exponents))
        numbers.store_one(length, self._at("%delayed", numbers.width))
        return length

    def _reach(self, node: int, reach: float) -> str:
        """log2 of half the least (reach / |c_k|)^(1/k), k > 0: with steps shorter than that,
        Σ_{k>0} |c_k| h^k is at most `reach`."""
        numbers, op = self.numbers, self.numbers.op
        doubles = Doubles(self.code, numbers.width)
        log2_reach = doubles.literal(math.log2(reach))

        def body(k: str, least: list[str]) -> list[str]:
            size = numbers.call("fabs", numbers.load_one(self._coefficient(node, k)))
            size = numbers.call("maxnum", size, numbers.literal(1e-290))
            room = op("fsub", log2_reach, numbers.log2_estimate(size))
            return [numbers.call("minnum", least[0], op("fmul", room, doubles.one_over(k)[0]))]

        start = [(numbers.type, numbers.literal(900.0))]
        (least,) = self.code.loop("1", str(self.orders), start, body)
        return op("fsub", least, numbers.literal(1.0))

    def _advance(self, length: str) -> None:
        """Sum the series at the step's end; the sum keeps its rounding error for the next one."""
        for states in batched(self.graph.states):
            self._advance_some(states, self.numbers.exactly(length))

    def _advance_some(self, states: Sequence[int], h: Value) -> None:
        numbers, planes = self.numbers, self.numbers.planes

        def body(k: str, parts: list[str]) -> list[str]:
            new: list[str] = []
            for i, state in enumerate(states):
                total = numbers.multiply(tuple(parts[i * planes : (i + 1) * planes]), h)
                new += numbers.add(total, numbers.load(self._coefficient(state, k)))
            return new

        last = [numbers.load(self._coefficient(state, self.orders)) for state in states]
        carried = [(numbers.type, part) for value in last for part in value]
        parts = self.code.loop(str(self.orders - 1), "0", carried, body, step=-1)
        for i, state in enumerate(states):
            change = numbers.multiply(tuple(parts[i * planes : (i + 1) * planes]), h)
            place = self._at("%states", 3 * state * numbers.width)
            low_place = self._at("%states", (3 * state + 1) * numbers.width)
            hi, lo = numbers.carried_sum(self.first[state], change, numbers.load_one(low_place))
            numbers.store_one(hi, place)
            numbers.store_one(lo, low_place)

    # ---- the series --------------------------------------------------------------------------

    def write_series(self) -> Code:
        """The function that sums one lane's series of all states at `POINTS` times from its
        beginning: they come in `states`, the lane's coefficients in `parameters`; the sums are
        rounded to doubles."""
        code, width, row = Code(), self.numbers.width, self.row
        points = Doubles(code, POINTS)

        def coefficient(state: int, place: str) -> str:
            base = state * (self.orders + 1) * row
            start = code.emit(f"getelementptr double, ptr %parameters, i64 {base}")
            where = code.emit(f"getelementptr double, ptr {start}, i64 {place}")
            return points.spread(code.emit(f"load double, ptr {where}"))[0]

        x = points.load_one("%states")

        for states in batched(self.graph.states):

            def body(k: str, totals: list[str], states: Sequence[int] = states) -> list[str]:
                place = code.emit(f"mul i64 {k}, {row}")
                return [
                    points.call("fma", total, x, coefficient(i, place))
                    for i, total in zip(states, totals, strict=True)
                ]

            last = str(self.orders * row)
            highest = [(points.type, coefficient(i, last)) for i in states]
            totals = code.loop(str(self.orders - 1), "0", highest, body, step=-1)
            for i, total in zip(states, totals, strict=True):
                low = points.literal(0.0)
                if self.numbers.planes == 2:
                    low = coefficient(i, str(width))
                value = points.op("fadd", coefficient(i, "0"), points.call("fma", total, x, low))
                place = code.emit(f"getelementptr double, ptr %out, i64 {i * POINTS}")
                points.store_one(value, place)
        return code


def batched(nodes: Sequence[int], size: int = 8) -> Iterator[Sequence[int]]:
    """As many at once as registers hold: compilation time grows faster than loops do."""
    for first in range(0, len(nodes), size):
        yield nodes[first : first + size]
