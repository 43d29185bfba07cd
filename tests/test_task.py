"""Suites are pure, validated data; a task's arrays follow the protocol, number for number."""

import math
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from types import SimpleNamespace

import numpy as np
import pytest

import systems
from dysts_bench import task as task_module
from dysts_bench.metrics import find
from dysts_bench.task import (
    DataError,
    Protocol,
    SuiteError,
    Task,
    clock,
    load,
    read_suite,
    suite_names,
    tasks,
)

TINY = Protocol(
    points_per_time_unit=10,
    time_unit="shorter",
    fit_on="train",
    train_points=200,
    validation_points=100,
    windows=3,
    context=20,
    horizon=4.0,
    horizon_unit="lyapunov_time",
    horizon_max_steps=1000,
    free_runs=2,
    free_context=20,
    free_steps=50,
    samples=4,
    exponent_steps=50,
    noise=0.0,
    observe="all",
    precision="double",
)


@dataclass
class Clockwork:
    """A system in place of the catalog's: sines whose phases follow from the seed."""

    period: float = 1.0
    lyapunov_time: float = 2.0
    lyapunov_spectrum: tuple[float, ...] = (0.5, 0.0)
    certified_horizon: dict = field(default_factory=dict)
    observables: tuple[str, ...] = ("x", "y")
    spoil: float | None = None  # what every y is replaced by
    hash: str = "0123456789abcdef"
    seeds: list[int] = field(default_factory=list)

    def trajectory(self, n, *, dt, trajectories, seed, noise, observe, precision):
        self.seeds.append(seed)
        rng = np.random.default_rng(seed)
        phases = rng.uniform(0, 2 * np.pi, (trajectories, 1, 2))
        states = 5 + 3 * np.sin(phases + 2 * np.pi * np.arange(n)[:, None] * dt * [1.0, 1.7])
        states = states + noise * rng.standard_normal(states.shape)
        if self.spoil is not None:
            states[:, :, 1] = self.spoil
        chosen = self.observables if observe == "all" else observe
        return SimpleNamespace(states=states[:, :, [self.observables.index(c) for c in chosen]])


@pytest.fixture
def system(monkeypatch):
    made = Clockwork()
    monkeypatch.setattr(task_module.systems, "load", lambda name, edition: made)
    return made


def a_task(**changes):
    protocol = replace(TINY, **changes)
    return Task("tiny", 1, "Clockwork", "corrected", "main", ("mse",), protocol, seed=0)


def test_time_is_counted_in_the_unit_that_the_protocol_names(system):
    # the period is 1, the Lyapunov time 2
    assert clock(a_task(time_unit="shorter")).dt == 0.1
    assert clock(a_task(time_unit="period")).dt == 0.1
    assert clock(a_task(time_unit="lyapunov_time")).dt == 0.2
    assert clock(replace(a_task(time_unit="period"), period=3.0)).dt == pytest.approx(0.3)
    assert clock(a_task(horizon=4.0, horizon_unit="lyapunov_time")).steps == 80
    assert clock(a_task(horizon=4.0, horizon_unit="period")).steps == 40


def test_a_protocol_that_fits_to_contexts_scales_by_the_other_trajectory(system):
    arrays = load(a_task(fit_on="context", context=20, train_points=20, free_runs=0))
    assert np.array_equal(arrays.train, arrays.contexts)
    assert arrays.validation.mean(axis=(0, 1)) == pytest.approx([0, 0], abs=1e-12)
    assert arrays.validation.std(axis=(0, 1)) == pytest.approx([1, 1])


# ---- suites ----------------------------------------------------------------------------------


def test_standard_version_2_is_the_published_protocol():
    suite = read_suite("standard")
    assert (suite.version, suite.edition, suite.track) == (2, "corrected", "main")
    assert asdict(suite.protocol) == {
        "points_per_time_unit": 30,
        "time_unit": "shorter",
        "fit_on": "train",
        "train_points": 6000,
        "validation_points": 2000,
        "windows": 20,
        "context": 512,
        "horizon": 25.0,
        "horizon_unit": "lyapunov_time",
        "horizon_max_steps": 3000,
        "free_runs": 4,
        "free_context": 512,
        "free_steps": 5000,
        "samples": 20,
        "exponent_steps": 3000,
        "noise": 0.0,
        "observe": "all",
        "precision": "double-double",
        "noisy_truth": False,
        "scale_of": "train",
    }


def test_every_suite_that_ships_can_be_read():
    assert "standard" in suite_names()
    for name in suite_names():
        assert read_suite(name).name == name


def test_the_schema_and_the_protocol_have_the_same_fields():
    schema = task_module._schema()["properties"]["protocol"]
    names = [f.name for f in fields(Protocol)]
    assert list(schema["properties"]) == names
    required = [f.name for f in fields(Protocol) if f.default is MISSING]
    assert schema["required"] == required  # a field with a default came after hashes were kept


def test_tasks_keep_the_hashes_under_which_results_are_kept():
    known = {
        "standard": {"Lorenz": "41a5e3b5a359", "Rossler": "adbf4b0a36db"},
        "gilpin2023": {"Lorenz": "ce000e92e9d2", "Rossler": "63e9ec05acdc"},
        "phyxmamba": {"Lorenz": "f7786d0390f2", "Rossler": "c8ce57e15d74"},
        "ablations": {"Lorenz": "b140464c460e"},
    }
    for suite, hashes in known.items():
        assert {t.system: t.hash for t in tasks(read_suite(suite), list(hashes))} == hashes


@pytest.mark.parametrize(
    ("track", "noise"), [("limited", 0), ("noisy_5", 0.05), ("noisy_20", 0.2), ("partial", 0)]
)
def test_tracks_beside_standard_forecast_its_windows_after_seeing_less(track, noise):
    [main] = tasks(read_suite("standard"), ["Lorenz"])
    [beside] = tasks(read_suite(track), ["Lorenz"])
    assert clock(main) == clock(beside)
    whole, part = load(main), load(beside)
    columns = slice(1) if track == "partial" else slice(None)
    expected = whole.in_units(whole.truth)[..., columns]
    assert part.in_units(part.truth) == pytest.approx(expected, abs=1e-11)  # clean, even where...
    disturbed = (part.in_units(part.contexts) - whole.in_units(whole.contexts)[..., columns]).std()
    assert disturbed / part.std.mean() == pytest.approx(noise, rel=0.1, abs=1e-11)  # ...seen noisy
    assert part.train.shape[1] == (600 if track == "limited" else 6000)
    assert set(beside.metrics) <= set(main.metrics)
    assert beside.metrics[0] == main.metrics[0]


@pytest.mark.parametrize(("grain", "points"), [("fine", 100), ("coarse", 15)])
def test_gilpin2021_is_one_coordinate_seen_and_judged_with_noise_or_without(grain, points):
    [clean] = tasks(read_suite(f"gilpin2021_{grain}"), ["Lorenz"])
    [noisy] = tasks(read_suite(f"gilpin2021_{grain}_noisy"), ["Lorenz"])
    assert clock(clean) == clock(noisy)
    assert clock(clean).dt == pytest.approx(1.5008 / points) and clock(clean).steps == 2 * points
    quiet, loud = load(clean), load(noisy)
    assert quiet.train.shape == (1, 10 * points, 1) and quiet.truth.shape == (1, 2 * points, 1)
    assert quiet.validation.shape == (1, 12 * points, 1)
    x = systems.load("Lorenz", edition="dysts").observables[0]
    first = task_module.trajectories(clean, "test", observe=[x])
    whole = [a.in_units(np.concatenate([a.contexts, a.truth], axis=1)) for a in (quiet, loud)]
    assert whole[0] == pytest.approx(first)
    noise = whole[1] - first
    assert noise.std() == pytest.approx(0.2 * first.std(), rel=0.15)
    assert noise[:, 10 * points :].std() == pytest.approx(0.2 * first.std(), rel=0.35)


def test_the_long_task_goes_on_where_gilpin2023_ends():
    [short], [long] = (tasks(read_suite(s), ["Lorenz"]) for s in ("gilpin2023", "gilpin2023_long"))
    near, far = load(short), load(long)
    assert far.truth.shape == (1, 5000, 3) and clock(long).dt == clock(short).dt
    np.testing.assert_array_equal(near.train, far.train)
    np.testing.assert_array_equal(near.truth, far.truth[:, :200])
    assert clock(long).horizon == pytest.approx(50 * 1.5008 / 1.12144, rel=1e-4)


def test_a_sweep_makes_a_task_of_each_length_which_differ_in_nothing_else():
    suite = read_suite("scaling")
    made = tasks(suite, ["Lorenz"])
    assert [t.protocol.train_points for t in made] == [100, 316, 1000, 3162, 10000, 31623, 100000]
    assert [t.name for t in made[:2]] == ["main-100/Lorenz", "main-316/Lorenz"]
    assert len({t.hash for t in made}) == 7
    fewer, more = (load(t) for t in made[:2])
    np.testing.assert_array_equal(fewer.train, more.train[:, :100])  # a beginning, in equal units
    for name in ("validation", "contexts", "truth", "std"):
        np.testing.assert_array_equal(getattr(fewer, name), getattr(more, name))
    assert fewer.validation.std(axis=(0, 1)) == pytest.approx([1, 1, 1])


def test_a_context_has_one_length(tmp_path):
    text = (task_module._SUITES / "gilpin2023.toml").read_text(encoding="utf-8")
    text = text.replace('"gilpin2023"', '"mine"').replace('"dysts_periods.csv"', '"p.csv"')
    (tmp_path / "p.csv").write_text("system,period\nLorenz,1.5\n")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("[protocol]", "[sweep]\ntrain_points = [500, 1000]\n[protocol]"))
    with pytest.raises(SuiteError, match="a context has one length"):
        read_suite(path)


def test_zhang2025_forecasts_ten_lyapunov_times_of_dysts_from_512_points():
    [task] = tasks(read_suite("zhang2025"), ["Rossler"])
    arrays, time = load(task), clock(task)
    assert time.unit == pytest.approx(1 / 0.1505969) and time.dt == time.unit / 30
    assert arrays.train.shape == (20, 512, 3) and arrays.truth.shape == (20, 300, 3)
    assert np.array_equal(arrays.train, arrays.contexts)
    assert find(task.metrics[0]).name == "smape_prediction_time"


def test_gilpin2023_is_the_task_of_the_study():
    suite = read_suite("gilpin2023")
    assert suite.metrics[0] == "smape" and suite.edition == "dysts"
    [task] = tasks(suite, ["Lorenz"])
    assert task.period == 1.5008  # of dysts: ours is half as long
    arrays, time = load(task), clock(task)
    assert time.dt == pytest.approx(0.015008) and time.steps == 200
    assert arrays.train.shape == (1, 1000, 3) and arrays.truth.shape == (1, 200, 3)
    assert np.array_equal(arrays.train, arrays.contexts)
    assert arrays.validation.shape == (1, 1200, 3)
    assert arrays.free_truth.shape[0] == 0
    # the truth goes on where the training data end
    system = systems.load("Lorenz", edition="dysts")
    ends = arrays.in_units(np.concatenate([arrays.train[0, -1:], arrays.truth[0, :1]]))
    on = systems.simulate(system, np.array([0.0, time.dt]), initial=ends[:1]).states[0, 1]
    assert on == pytest.approx(ends[1], rel=1e-9)


def test_a_file_of_periods_is_checked(tmp_path):
    text = standard_text().replace('name = "standard"', 'name = "mine"')
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("seed = 0", 'seed = 0\nperiods = "mine.csv"', 1))
    with pytest.raises(SuiteError, match=r"mine.csv: no CSV of the columns system and period"):
        read_suite(path)
    (tmp_path / "mine.csv").write_text("system,period\nLorenz,-1.0\n")
    with pytest.raises(SuiteError, match=r"positive numbers; those of \['Lorenz'\]"):
        read_suite(path)
    (tmp_path / "mine.csv").write_text("system,period\nLorenz,1.5\n")
    assert tasks(read_suite(path), ["Lorenz"])[0].period == 1.5
    with pytest.raises(SuiteError, match="no period for Rossler"):
        tasks(read_suite(path), ["Rossler"])


def standard_text():
    return (task_module._SUITES / "standard.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("horizon = 25.0", "horzon = 25.0", "Did you mean horizon"),
        ("windows = 20", 'windows = "20"', "protocol.windows: '20' is not of type 'integer'"),
        ("windows = 20", "windows = 0", "protocol.windows: 0 is less than the minimum"),
        ("windows = 20", "", "'windows' is a required property"),
        ("horizon = 25.0", "horizon = inf", "must be finite"),
        ('observe = "all"', 'observe = "__import__"', "protocol.observe"),
        ('edition = "corrected"', 'edition = "mine"', "edition: 'mine' is not one of"),
        ("seeds = 1", "seeds = 0", "profiles.quick.seeds"),
        ('"mse"', '"msee"', "metrics: there is no metric 'msee'. Did you mean mse"),
        ("[protocol]", "[protocol", "can't be read as TOML"),
        ("free_runs = 4", "free_runs = 0", "need free runs; protocol.free_runs is 0"),
        ('fit_on = "train"', 'fit_on = "context"', "6000 and 512"),
        (
            "[protocol]",
            "[sweep]\ntrain_points = [9, 10]\n[protocol]",
            "of the protocol, 6000; got 10",
        ),
        ("[protocol]", "[sweep]\ntrain_points = [6000]\n[protocol]", "sweep.train_points"),
        ("noise = 0.0", "noise = 0.0\nnoisy_truth = true", "noisy_truth needs noise, which is 0"),
        ('"Chua", "CellCycle"', '"Chau", "CellCycle"', "no system 'Chau'. Did you mean Chua"),
        ("also.five", "also.fiv", "profiles.quick.also: no subset is called 'fiv'. Did you mean"),
        ("seed = 0", 'seed = 0\nsystems = ["Lorentz"]', "systems: the catalog has no system 'Lor"),
        ('"naive_mean", ', '"evil.py:Evil", ', "'evil.py:Evil' names a file"),
        ('"lstm:cpu"', '"evil.py:Evil(x=1)"', "names a file, whose code"),
        ("[subsets]", '[subsets]\nall = ["Lorenz"]', "subsets: 'all' is taken"),
        ("seed = 0", 'seed = 0\nperiods = "../x.csv"', "periods: '../x.csv' does not match"),
    ],
)
def test_a_broken_suite_is_refused_with_the_reason(tmp_path, old, new, said):
    assert old in standard_text()
    path = tmp_path / "mine.toml"
    path.write_text(standard_text().replace(old, new, 1))
    with pytest.raises(SuiteError, match="mine") as refused:
        read_suite(path)
    assert said in str(refused.value)


def test_a_suite_may_have_the_subsets_of_another(tmp_path):
    text = standard_text().replace('name = "standard"', 'name = "mine"')
    before, _, rest = text.partition("[subsets]")
    after = rest[rest.index("[profiles.quick]") :]
    path = tmp_path / "mine.toml"
    path.write_text(before.replace("seed = 0", 'seed = 0\nsubsets = "standard"') + after)
    assert read_suite(path).subsets == read_suite("standard").subsets
    for wrong, said in (("standart", "there is no suite 'standart'"), ("mine.toml", "subsets")):
        path.write_text(before.replace("seed = 0", f'seed = 0\nsubsets = "{wrong}"') + after)
        with pytest.raises(SuiteError, match=said):
            read_suite(path)


def test_a_suite_of_ones_own_gives_whole_numbers_their_type(tmp_path):
    path = tmp_path / "mine.toml"
    text = standard_text().replace('name = "standard"', 'name = "mine"')
    path.write_text(text.replace("windows = 20", "windows = 7.0"))
    windows = read_suite(str(path)).protocol.windows
    assert windows == 7 and isinstance(windows, int)


def test_a_suite_of_ones_own_may_not_pass_for_the_standard_one(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(standard_text())
    with pytest.raises(SuiteError, match="'standard' is taken"):
        read_suite(path)


def test_an_unknown_suite_is_answered_with_the_known_ones():
    with pytest.raises(SuiteError, match="standard"):
        read_suite("standrad")


def test_any_change_makes_another_task():
    suite = read_suite("standard")
    one, two = tasks(suite, ["Lorenz", "Rossler"])
    others = [two, *tasks(replace(suite, version=3), ["Lorenz"])]
    others += tasks(replace(suite, protocol=replace(suite.protocol, horizon=24.0)), ["Lorenz"])
    assert len({one, *others}) == 4
    assert len({t.hash for t in [one, *others]}) == 4
    assert one.hash == tasks(read_suite("standard"), ["Lorenz"])[0].hash


# ---- the clock -------------------------------------------------------------------------------


def test_the_step_follows_the_shorter_of_period_and_lyapunov_time(system):
    assert clock(a_task()).dt == 0.1  # period 1
    system.lyapunov_time = 0.5
    assert clock(a_task()).dt == 0.05


def test_the_horizon_counts_lyapunov_times_and_is_capped(system):
    time = clock(a_task())
    assert (time.steps, time.unit_name) == (80, "Lyapunov times")  # 4 x 2.0 / 0.1
    assert time.horizon == pytest.approx(4.0)
    time = clock(a_task(horizon_max_steps=50))
    assert time.steps == 50 and time.horizon == pytest.approx(2.5)


def test_the_truth_ends_where_the_certificate_does(system):
    system.certified_horizon = {"double": 1.51, "double-double": 3.2}
    assert clock(a_task()).steps == 30
    assert load(a_task()).truth.shape == (3, 30, 2)


def test_a_system_that_is_not_chaotic_is_timed_in_periods(system):
    system.lyapunov_time = math.inf
    time = clock(a_task())
    assert (time.dt, time.unit, time.unit_name, time.steps) == (0.1, 1.0, "periods", 40)
    assert load(a_task()).facts.lyapunov_time == 1.0


@pytest.mark.parametrize("unknown", [math.nan, 0.0, -1.0])
def test_a_system_without_a_known_time_scale_has_no_task(system, unknown):
    system.lyapunov_time = unknown
    with pytest.raises(DataError, match="Calibrate"):
        clock(a_task())


# ---- the arrays ------------------------------------------------------------------------------


def test_the_arrays_have_the_protocols_shapes(system):
    windows = load(a_task())
    assert windows.train.shape == (1, 200, 2)
    assert windows.validation.shape == (1, 100, 2)
    assert windows.contexts.shape == (3, 20, 2)
    assert windows.truth.shape == (3, 80, 2)
    assert windows.free_contexts.shape == (2, 20, 2)
    assert windows.free_truth.shape == (2, 50, 2)


def test_everything_is_in_units_of_the_training_part(system):
    windows = load(a_task())
    np.testing.assert_allclose(windows.train.mean(axis=(0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(windows.train.std(axis=(0, 1)), 1, rtol=1e-12)
    raw = system.trajectory(
        100, dt=0.1, trajectories=3, seed=3, noise=0.0, observe="all", precision="double"
    ).states
    again = np.concatenate([windows.contexts, windows.truth], axis=1) * windows.std + windows.mean
    np.testing.assert_allclose(again, raw, rtol=1e-12)


def test_each_role_has_initial_states_of_its_own(system):
    load(a_task())
    first = list(system.seeds)
    assert len(set(first)) == 4
    system.seeds.clear()
    load(replace(a_task(), seed=1))
    assert not set(first) & set(system.seeds)


def test_noise_is_seen_by_models_and_not_by_the_judge(system):
    quiet, noisy = load(a_task()), load(a_task(noise=0.1))
    raw = noisy.truth * noisy.std + noisy.mean
    np.testing.assert_allclose(raw, quiet.truth * quiet.std + quiet.mean, rtol=1e-12)
    difference = noisy.contexts * noisy.std + noisy.mean - quiet.contexts * quiet.std - quiet.mean
    assert 0.08 < difference.std() < 0.12


def test_the_judge_may_have_the_noise_too(system):
    quiet, noisy = load(a_task()), load(a_task(noise=0.1, noisy_truth=True))
    for name in ("truth", "free_truth"):
        difference = noisy.in_units(getattr(noisy, name)) - quiet.in_units(getattr(quiet, name))
        assert 0.08 < difference.std() < 0.12
    assert a_task(noise=0.1).hash != a_task(noise=0.1, noisy_truth=True).hash


def test_only_the_first_observable_can_be_asked_for(system):
    assert load(a_task(observe="first")).truth.shape == (3, 80, 1)


def test_models_cannot_write_into_the_truth(system):
    windows = load(a_task())
    for name in ("train", "validation", "contexts", "truth", "free_contexts", "free_truth"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(windows, name)[...] = 0.0


@pytest.mark.parametrize(
    ("spoil", "said"), [(4.2, "constant"), (math.nan, "NaN"), (math.inf, "NaN")]
)
def test_useless_coordinates_are_the_tasks_fault_and_said(system, spoil, said):
    system.spoil = spoil
    with pytest.raises(DataError, match=said):
        load(a_task())


def test_the_data_hash_tells_other_data(system):
    one = load(a_task())
    assert one.data_hash == load(a_task()).data_hash
    assert one.data_hash != load(replace(a_task(), seed=1)).data_hash


def test_a_suite_may_bring_lyapunov_times() -> None:
    own, published = read_suite("standard"), read_suite("phyxmamba")
    assert published.lyapunov_times is not None
    (task,) = tasks(published, ["Rossler"])
    time = clock(task)
    assert time.unit == published.lyapunov_times["Rossler"] == pytest.approx(1 / 0.1505969)
    assert (time.dt, time.steps) == (time.unit / 30, 300)
    (plain,) = tasks(own, ["Rossler"])
    assert plain.lyapunov_time is None and plain.hash != replace(plain, lyapunov_time=7.0).hash
    # a certificate counts in the catalog's Lyapunov times, which are twice as long
    certified = systems.load("Rossler").certified_horizon["double-double"]
    longer = replace(plain, lyapunov_time=time.unit)
    far = replace(longer, protocol=replace(longer.protocol, horizon=1e4, horizon_max_steps=10**7))
    assert clock(far).steps * clock(far).dt == pytest.approx(
        certified * systems.load("Rossler").lyapunov_time, rel=1e-3
    )
