"""Published exponents: how they are compared, that they agree, and the pages made of them."""

import dataclasses
import json
import math

import numpy as np
import pytest

import systems
from dysts_bench import catalog_pages
from systems import calibrate
from systems.catalog import CatalogError
from systems.literature import compare, half_unit, measure_literature, published

ENTRIES = published()
LORENZ = {"system": "Lorenz", "source": "a test", "sure": "yes", "unit": "nats"}


def read(tmp_path, **entry):
    path = tmp_path / "literature.json"
    path.write_text(json.dumps({"version": 1, "entries": [LORENZ | entry]}))
    return path


@pytest.mark.parametrize(("printed", "half"), [("0.13", 0.005), ("-39.0", 0.05), ("2", 0.5)])
def test_the_precision_of_a_printed_number(printed, half):
    assert half_unit(printed) == pytest.approx(half)


def test_agreement_is_two_errors_or_two_percent_and_rounding(tmp_path):
    [entry] = published(read(tmp_path, exponents=["1.00", "0", "-10.0"]))
    system = dataclasses.replace(
        entry.system, lyapunov_spectrum=(1.024, 0, -10.3), lyapunov_spectrum_error=(0.001, 0, 0.02)
    )
    first, third = compare(dataclasses.replace(entry, system=system))
    assert first.allowed == pytest.approx(0.025) and first.agrees
    assert third.allowed == pytest.approx(0.25) and not third.agrees
    loose = dataclasses.replace(system, lyapunov_spectrum_error=(0.1, 0, 0.2))
    assert compare(dataclasses.replace(entry, system=loose))[1].agrees


def test_bits_are_converted(tmp_path):
    [entry] = published(read(tmp_path, unit="bits", exponents=["2.16"]))
    assert compare(entry)[0].published == pytest.approx(2.16 * math.log(2))


def test_other_parameters_are_measured_and_kept_until_they_change(tmp_path, monkeypatch):
    monkeypatch.setattr(calibrate, "FIRST_LENGTH", 60.0)
    path = read(tmp_path, exponents=["1.50"], kaplan_yorke="2.07",
                parameters={"sigma": 16.0, "rho": 45.92, "beta": 4.0})  # fmt: skip
    assert compare(published(path)[0]) is None
    assert len(list(measure_literature(["Lorenz"], seconds=0.0, path=path))) == 1
    first, dimension = compare(published(path)[0])
    assert abs(first.ours - 1.497) < 4 * first.error < 0.3
    assert dimension.ours == pytest.approx(2.07, abs=0.01)
    assert not list(measure_literature(["Lorenz"], seconds=0.0, path=path))
    document = json.loads(path.read_text())
    document["entries"][0]["parameters"]["rho"] = 46.0
    path.write_text(json.dumps(document))
    assert compare(published(path)[0]) is None


def test_a_family_is_taken_at_the_published_size(tmp_path):
    [entry] = published(read(tmp_path, system="Lorenz96", size=8, parameters={"f": 8.0}))
    assert entry.system.dimension == 8 and not entry.at_catalog and compare(entry) is None


def test_an_unknown_unit_or_a_short_state_is_met_with_the_rule(tmp_path):
    with pytest.raises(CatalogError, match="units are nats and bits; 'dB' arrived"):
        published(read(tmp_path, unit="dB"))
    with pytest.raises(CatalogError, match="3 states; an initial state of 2 numbers arrived"):
        published(read(tmp_path, initial=[1.0, 2.0]))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.system.name} {e.source[:12]}")
def test_a_published_value_is_reproduced_or_explained(entry):
    found = compare(entry)
    assert found, "not measured: `dysts-bench calibrate --literature`"
    off = [comparison for comparison in found if not comparison.agrees]
    assert bool(off) == bool(entry.exception), f"{off}, exception: {entry.exception!r}"


# ---- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["errata", "spectra"])
def test_a_page_says_what_the_catalog_says(page):
    written = (catalog_pages.DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert written == getattr(catalog_pages, page)(), "`make docs` writes it anew"


def test_every_difference_between_the_editions_is_on_the_page():
    text = catalog_pages.errata()
    for name in systems.names():
        assert (f"## {name}\n" in text) == bool(systems.load(name).erratum)


def test_the_energy_is_the_hamiltonian_of_the_equations():
    """Its derivatives by the momenta are the velocities."""
    system = systems.load("DoublePendulum")
    state, step = np.array([0.3, -1.1, 0.7, -0.4]), 1e-6 * np.eye(4)
    energy = catalog_pages.pendulum_energy
    slopes = [(energy(system, state + h) - energy(system, state - h)) / 2e-6 for h in step]
    theta1, theta2, p1, p2 = system.rhs()(state)
    assert np.allclose(slopes, [-p1, -p2, theta1, theta2], rtol=1e-7)
