"""Groups of systems against the catalog's own entries."""

import pytest

import systems
from dysts_bench.groups import systems_by


def test_by_tag_a_system_is_in_the_group_of_each_of_its_tags() -> None:
    groups = systems_by("tag", systems.names())
    assert groups["delay"] == sorted(systems.names(tag="delay"))
    assert "Lorenz" in groups["chaotic"] and "Lorenz" in groups["dissipative"]


@pytest.mark.parametrize("kind", ["dimension", "exponent", "equations"])
def test_by_dimension_exponent_and_equations_each_system_is_in_one_group(kind: str) -> None:
    groups = systems_by(kind, systems.names())
    assert sorted(name for names in groups.values() for name in names) == sorted(systems.names())


def test_labels_say_what_is_in_a_group() -> None:
    names = ["Lorenz", "MackeyGlass", "HyperRossler", "Hopfield", "nobody"]
    assert systems_by("dimension", names) == {
        "dimension 3": ["Lorenz"],
        "dimension 4": ["HyperRossler"],
        "dimension 5 and more": ["Hopfield"],
        "infinite (a delay)": ["MackeyGlass"],
    }
    lorenz = systems.load("Lorenz")
    assert 0.5 < lorenz.lyapunov_spectrum[0] * lorenz.period < 0.8
    assert systems_by("exponent", ["Lorenz"]) == {"exponent per period 0.5 to 0.8": ["Lorenz"]}
    assert systems_by("equations", ["Lorenz", "Chua", "MackeyGlass", "Thomas", "Duffing"]) == {
        "not polynomial": ["Chua", "Duffing", "MackeyGlass", "Thomas"],
        "polynomial of degree 2": ["Lorenz"],
    }
    with pytest.raises(ValueError, match="got 'size'"):
        systems_by("size", names)
