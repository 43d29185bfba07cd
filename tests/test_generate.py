"""Trajectories: what determines them, where they are kept, what comes out of a damaged cache."""

import logging
import zipfile

import numpy as np
import pytest
from beartype import BeartypeConf, beartype
from jaxtyping import TypeCheckError, jaxtyped
from scipy.spatial import cKDTree

import systems
from systems import IntegrationError, System, Trajectory, make_dataset, simulate, storage
from systems import generate as module
from systems.integrate import integrate
from systems.llvm import compile_field
from systems.lyapunov import _tangent_exponents


@pytest.fixture(scope="module")
def lorenz():
    return systems.load("Lorenz")


@pytest.fixture
def no_computation(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("computed although it should come from the cache")

    return lambda: monkeypatch.setattr(module, "_generate", refuse)


# ---- what determines a trajectory ----------------------------------------------------------------


def test_a_seed_fixes_everything(lorenz):
    options = {"trajectories": 2, "noise": 0.1, "cache": False}
    first = lorenz.trajectory(100, seed=5, **options)
    assert (lorenz.trajectory(100, seed=5, **options).states == first.states).all()
    assert lorenz.trajectory(100, seed=5, **options).hash == first.hash
    other = lorenz.trajectory(100, seed=6, **options)
    assert np.abs(other.states - first.states).min(axis=1).min() > 1e-6


def test_the_global_random_state_is_left_alone(lorenz):
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    lorenz.trajectory(10, noise=0.1, cache=False)
    assert (np.random.get_state()[1] == before).all()


def test_more_trajectories_begin_with_those_of_fewer(lorenz):
    few, many = (lorenz.trajectory(50, trajectories=m, cache=False) for m in (2, 4))
    assert (many.states[:2] == few.states).all()


def test_more_trajectories_begin_with_those_of_fewer_under_noise_too(lorenz):
    few, many = (lorenz.trajectory(50, trajectories=m, noise=0.1, cache=False) for m in (2, 4))
    assert (many.states[:2] == few.states).all()
    clean = lorenz.trajectory(50, trajectories=2, cache=False)
    noises = few.states - clean.states
    assert np.abs(np.corrcoef(noises[0].ravel(), noises[1].ravel())[0, 1]) < 0.3


def test_a_longer_trajectory_begins_with_the_shorter_one(lorenz):
    short, long = (lorenz.trajectory(n, cache=False) for n in (50, 200))
    assert np.abs(long.states[:, :50] - short.states).max() < 1e-9


def test_dt_is_what_was_asked_for(lorenz):
    made = lorenz.trajectory(100, points_per_period=50, cache=False)
    assert np.allclose(np.diff(made.times), lorenz.period / 50, rtol=1e-10)
    assert made.times[0] == 0.0
    made = lorenz.trajectory(100, dt=0.02, cache=False)
    assert np.allclose(np.diff(made.times), 0.02, rtol=1e-10)
    assert made.provenance["dt"] == 0.02
    made = lorenz.trajectory(100, points_per_lyapunov_time=40, cache=False)
    assert np.allclose(np.diff(made.times), lorenz.lyapunov_time / 40, rtol=1e-10)
    default = lorenz.trajectory(100, cache=False)
    assert default.hash == lorenz.trajectory(100, points_per_period=100, cache=False).hash


def test_the_sampling_is_given_once(lorenz):
    with pytest.raises(ValueError, match=r"one of .*; points_per_period and dt arrived"):
        lorenz.trajectory(10, points_per_period=50, dt=0.02)
    with pytest.raises(ValueError, match="no Lyapunov time is known"):
        lorenz.with_parameters(rho=29).trajectory(10, points_per_lyapunov_time=50)


def test_consecutive_states_are_joined_by_the_flow(lorenz):
    made = lorenz.trajectory(20, dt=0.05, observe="states", cache=False)
    steps = simulate(lorenz, np.array([0.05]), initial=made.states[0, :-1]).states[:, 0]
    assert np.abs(steps - made.states[0, 1:]).max() < 1e-10


def test_without_burn_in_a_trajectory_begins_at_the_initial_state(lorenz):
    made = lorenz.trajectory(1, transient=0, cache=False)
    assert np.allclose(made.states[0, 0], lorenz.initial, rtol=5 * module.PERTURBATION)
    assert not np.allclose(made.states[0, 0], lorenz.initial, rtol=0.01 * module.PERTURBATION)


def test_other_parameters_give_another_trajectory(lorenz):
    """At rho = 10 Lorenz settles on the fixed point with x² = beta*(rho - 1), z = rho - 1."""
    made = lorenz.with_parameters(rho=10.0).trajectory(50, cache=False)
    assert np.allclose(made.states[..., 2], 9.0, rtol=1e-6)
    assert np.allclose(made.states[..., 0] ** 2, 8 / 3 * 9, rtol=1e-6)
    assert lorenz.trajectory(50, cache=False).states[..., 2].std() > 1


def test_trajectories_do_not_share_windows(lorenz):
    """Windows of one period find no closer neighbours in another trajectory than in another part
    of their own."""
    made = lorenz.trajectory(2400, points_per_period=20, trajectories=3, cache=False)
    scaled = made.states / made.states.std(axis=(0, 1))
    windows = np.concatenate([scaled[:, i : i + 2380] for i in range(0, 20, 4)], axis=-1)

    def typical_distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.median(cKDTree(b).query(a)[0]))

    within = typical_distance(windows[0, :1180], windows[0, 1200:])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert typical_distance(windows[a, :1180], windows[b, :1180]) > 0.5 * within > 0.01


WEAKEST = sorted(
    (
        system
        for system in map(systems.load, systems.names("chaotic"))
        if system.lyapunov_spectrum and not system.delays and "transient" not in system.tags
    ),
    key=lambda system: -system.lyapunov_time / system.period,
)[:8]


@pytest.mark.parametrize("system", WEAKEST, ids=lambda system: system.name)
def test_the_burn_in_parts_neighbours_of_the_initial_state(system):
    """By the end of the shortest burn-in, trajectories from neighbouring initial states are as far
    apart as they ever are (little, where chaos is a thin band round a cycle), or a test window
    would be a copy of a piece of the training data."""
    burn_in = module._default_transient(system) * system.period
    apart, later = _apart(system, burn_in), _apart(system, 3 * burn_in)
    assert apart > min(0.3, 0.1 * later)


def _apart(system, burn_in):
    """Median distance of neighbours after the burn-in, in standard deviations."""
    rng = np.random.default_rng(0)
    start = np.array(system.initial)
    starts = start * (1 + module.PERTURBATION * rng.standard_normal((4, start.size)))
    times = burn_in + np.linspace(0, 10 * system.period, 100)
    found = simulate(system, times, initial=starts, rtol=1e-10, atol=1e-10)
    observed = np.stack([system.observed(states, times) for states in found.states])
    deviation = observed.std(axis=(0, 1))
    moving = deviation > 1e-9 * np.abs(observed).max(axis=(0, 1))
    apart = (observed - observed[:1])[1:, :, moving] / deviation[moving]
    return np.median(np.sqrt((apart**2).mean(axis=-1)))


# ---- noise and observation -----------------------------------------------------------------------


def test_noise_has_the_level_asked_for_on_every_coordinate(lorenz):
    clean, noisy = (
        lorenz.trajectory(5000, trajectories=2, noise=level, cache=False) for level in (0.0, 0.2)
    )
    added = noisy.states - clean.states
    levels = added.std(axis=(0, 1)) / clean.states.std(axis=(0, 1))
    assert np.allclose(levels, 0.2, rtol=0.04)  # of each trajectory's own deviation
    assert np.abs(added.mean(axis=(0, 1)) / clean.states.std(axis=(0, 1))).max() < 0.01
    flat = added.reshape(-1, 3)
    correlations = np.corrcoef(np.concatenate([flat[1:], flat[:-1]], axis=1), rowvar=False)
    assert np.abs(correlations - np.eye(6)).max() < 0.05  # white, and independent by coordinate


def test_observe_chooses_coordinates():
    duffing = systems.load("Duffing")
    everything, raw = (duffing.trajectory(30, observe=o, cache=False) for o in ("all", "states"))
    assert everything.coordinates == duffing.observables != duffing.states == raw.coordinates
    assert (duffing.observed(raw.states) == everything.states).all()
    chosen = duffing.trajectory(30, observe=["z", "x"], cache=False)
    assert chosen.coordinates == ("z", "x")
    assert (chosen.states == raw.states[..., [2, 0]]).all()
    assert (duffing.trajectory(30, observe="x", cache=False).states == raw.states[..., :1]).all()


def test_an_unknown_coordinate_is_refused_with_those_that_exist(lorenz):
    with pytest.raises(ValueError, match=r"Lorenz: `w` is neither .*; there are x, y, z"):
        lorenz.trajectory(10, observe=["x", "w"])
    with pytest.raises(ValueError, match="at least one coordinate"):
        lorenz.trajectory(10, observe=[])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n is a positive whole number; 0 arrived"),
        ({"n": 2.5}, "n is a positive whole number"),
        ({"trajectories": 0}, "trajectories is a positive whole number"),
        ({"points_per_period": 0}, "points_per_period is positive"),
        ({"points_per_lyapunov_time": -1}, "points_per_lyapunov_time is positive"),
        ({"dt": -0.1}, "Lorenz: dt is positive and finite"),
        ({"dt": float("nan")}, "Lorenz: dt is positive and finite"),
        ({"noise": -0.1}, "noise is a fraction"),
        ({"seed": -1}, "seed is a whole number ≥ 0; -1 arrived"),
        ({"seed": 0.5}, "seed is a whole number"),
        ({"transient": -1.0}, "Lorenz: transient is finite and ≥ 0"),
    ],
    ids=str,
)
def test_bad_numbers_are_refused(lorenz, options, message):
    with pytest.raises(ValueError, match=message):
        lorenz.trajectory(**({"n": 10} | options))


def test_numbers_of_numpy_are_numbers(lorenz, cache_folder):
    one = lorenz.trajectory(np.int64(10), seed=np.int32(3), noise=np.float32(0.5))
    assert one.hash == lorenz.trajectory(10, seed=3, noise=0.5).hash
    assert len(list((cache_folder / "trajectories").iterdir())) == 1


def test_a_system_that_always_escapes_is_an_error(make_system):
    with pytest.raises(IntegrationError, match="Made: 20 initial states near the catalog's escape"):
        make_system({"x": "x**2"}, [1.0]).trajectory(10, cache=False)


def test_initial_states_that_escape_are_replaced_and_counted(make_system):
    """Unstable at 1: half of the perturbed initial states run to infinity, the others to 0."""
    system = make_system({"x": "x*(x - 1)"}, [1.0])
    made = system.trajectory(5, trajectories=6, cache=False)
    assert made.provenance["rejected"] > 0
    assert np.abs(made.states).max() < 1e-3


# ---- cache ---------------------------------------------------------------------------------------


def test_a_second_call_reads_what_the_first_wrote(lorenz, cache_folder, no_computation):
    first = lorenz.trajectory(100, trajectories=2, noise=0.05, observe=["z"])
    no_computation()
    again = lorenz.trajectory(100, trajectories=2, noise=0.05, observe=["z"])
    assert again.states.tobytes() == first.states.tobytes()
    assert (again.times == first.times).all() and again.coordinates == first.coordinates
    assert again.provenance == first.provenance and again.hash == first.hash


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"n": 101},
        {"trajectories": 2},
        {"dt": 0.01},
        {"points_per_period": 99},
        {"transient": 51},
        {"noise": 0.1},
        {"observe": ["x", "y"]},
        {"rtol": 1e-12},
        {"atol": 1e-12},
    ],
    ids=str,
)
def test_every_option_is_part_of_the_key(lorenz, cache_folder, options):
    plain, changed = lorenz.trajectory(100), lorenz.trajectory(**({"n": 100} | options))
    # an absolute tolerance below the relative one's, of states of size 10, moves nothing
    assert plain.hash != changed.hash or "atol" in options
    assert len(list((cache_folder / "trajectories").iterdir())) == 2


def test_equations_are_part_of_the_key(lorenz, cache_folder):
    hashes = {
        system.trajectory(20).hash
        for system in (lorenz, lorenz.with_parameters(rho=29), systems.load("Lorenz", "dysts"))
    }
    assert len(hashes) == 3


def test_without_cache_nothing_is_written(lorenz, cache_folder):
    lorenz.trajectory(20, cache=False)
    assert not (cache_folder / "trajectories").exists()


def truncated(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def flipped(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [truncated, flipped, lambda raw: b"", lambda raw: b"not a zip file", lambda raw: raw[:-1]],
    ids=["truncated", "one bit flipped", "empty", "another file", "one byte short"],
)
def test_a_damaged_file_is_computed_again_with_a_word(lorenz, cache_folder, caplog, damage):
    first = lorenz.trajectory(100)
    [path] = (cache_folder / "trajectories").iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING, logger="systems"):
        again = lorenz.trajectory(100)
    assert again.hash == first.hash
    assert any("is damaged" in message and path.name in message for message in caplog.messages)
    caplog.clear()
    assert lorenz.trajectory(100).hash == first.hash and not caplog.messages


def test_altered_numbers_are_found_out_by_their_checksum(lorenz, cache_folder, caplog):
    """A whole zip file, made by hand, of numbers that were changed."""
    first = lorenz.trajectory(100)
    [path] = (cache_folder / "trajectories").iterdir()
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["states"][0, 3, 1] += 1e-12
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="do not match their checksum"):
        Trajectory.read(path)
    assert lorenz.trajectory(100).hash == first.hash
    assert "is damaged" in caplog.text


def test_no_single_altered_byte_passes_or_escapes_as_another_error(lorenz, tmp_path):
    made = lorenz.trajectory(4, cache=False)
    path = tmp_path / "made.npz"
    made.save(path)
    raw = path.read_bytes()
    for place in range(0, len(raw), 11):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0x81]) + raw[place + 1 :])
        try:
            read = Trajectory.read(path)
        except ValueError:
            continue
        assert read.hash == made.hash and read.provenance == made.provenance


def test_a_cache_that_cannot_be_written_costs_a_warning(lorenz, tmp_path, monkeypatch, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setenv("DYSTS_BENCH_CACHE", str(blocked))
    made = lorenz.trajectory(20)
    assert "could not be cached" in caplog.text
    assert made.hash == lorenz.trajectory(20, cache=False).hash
    assert blocked.read_text() == "a file where a folder should be"


def test_nothing_is_left_of_a_write_that_fails(lorenz, cache_folder, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(storage.os, "replace", fail)
    lorenz.trajectory(20)
    assert list((cache_folder / "trajectories").iterdir()) == []


def test_a_pickle_is_not_opened(tmp_path):
    path = tmp_path / "trap.npz"
    np.savez(path, times=np.array([print], dtype=object), states=np.zeros(1), meta=np.array("{}"))
    with pytest.raises(ValueError, match="not a stored trajectory"):
        Trajectory.read(path)


# ---- exports -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(lorenz):
    return lorenz.trajectory(7, trajectories=2, cache=False)


def test_save_and_read(made, tmp_path):
    path = tmp_path / "new" / "lorenz.npz"
    made.save(path)
    read = Trajectory.read(path)
    assert read.states.tobytes() == made.states.tobytes()
    assert (read.times == made.times).all() and read.coordinates == made.coordinates
    assert read.provenance == made.provenance and read.system == "Lorenz"
    assert zipfile.ZipFile(path).testzip() is None
    assert [file.name for file in path.parent.iterdir()] == ["lorenz.npz"]


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        Trajectory.read(tmp_path / "nothing.npz")


def test_to_pandas_has_a_row_for_every_point(made):
    table = made.to_pandas()
    assert list(table.columns) == ["trajectory", "time", "x", "y", "z"]
    assert len(table) == 14 == 2 * len(made)
    second = table[table.trajectory == 1]
    assert (second[["x", "y", "z"]].to_numpy() == made.states[1]).all()
    assert (second.time.to_numpy() == made.times).all()


def test_to_torch_copies_in_double_precision(made):
    torch = pytest.importorskip("torch")
    tensor = made.to_torch()
    assert tensor.dtype == torch.float64
    assert (tensor.numpy() == made.states).all()
    tensor += 1
    assert not (tensor.numpy() == made.states).any()


def test_to_darts_has_a_series_for_every_trajectory(made):
    pytest.importorskip("darts")
    series = made.to_darts()
    assert len(series) == 2
    assert (series[1].values() == made.states[1]).all()


# ---- several systems -----------------------------------------------------------------------------


def test_threads_change_nothing():
    names = ["Lorenz", "Rossler", "Chen", "Halvorsen"]
    serial = make_dataset(names, 50, jobs=1, cache=False, trajectories=2)
    threaded = make_dataset(names, 50, jobs=3, cache=False, trajectories=2)
    assert list(threaded) == list(serial) == names
    assert {name: one.hash for name, one in threaded.items()} == {
        name: one.hash for name, one in serial.items()
    }
    assert serial["Chen"].hash == systems.load("Chen").trajectory(50, trajectories=2).hash


def test_a_dataset_is_saved_as_one_file_a_system(tmp_path):
    dataset = make_dataset(["Lorenz", "Chen"], 20, cache=False)
    dataset.save(tmp_path / "out")
    assert len(dataset) == 2
    for name, trajectory in dataset.items():
        assert Trajectory.read(tmp_path / "out" / f"{name}.npz").hash == trajectory.hash


def test_a_dataset_of_unknown_or_unlisted_names_is_refused():
    with pytest.raises(systems.UnknownSystemError, match=r"`Lorentz`.*Did you mean `Lorenz"):
        make_dataset(["Chen", "Lorentz"], 10)
    with pytest.raises(ValueError, match=r"as in \['Lorenz'\]"):
        make_dataset("Lorenz", 10)


def test_the_edition_reaches_every_system():
    dataset = make_dataset(["Lorenz"], 10, edition="dysts", cache=False)
    assert dataset["Lorenz"].provenance["edition"] == "dysts"
    assert dataset["Lorenz"].hash != make_dataset(["Lorenz"], 10, cache=False)["Lorenz"].hash


def test_simulate_starts_where_it_is_told_and_says_how(lorenz):
    times, initial = np.array([0.0, 0.5]), np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    made = simulate(lorenz, times, initial=initial, rtol=1e-11)
    assert (made.states[:, 0] == initial).all() and (made.times == times).all()
    assert made.provenance["rtol"] == 1e-11 and made.system == "Lorenz"
    assert (simulate(lorenz, times).states[0, 0] == lorenz.initial).all()


def test_shapes_are_those_of_the_annotations(lorenz):
    """Checked call by call: an import hook for whole packages would meet deliberately bad input
    before our own errors do."""
    checker = beartype(conf=BeartypeConf(is_pep484_tower=True))

    def checked(function):
        return jaxtyped(function, typechecker=checker)

    times, initial = np.linspace(0, 1, 4), np.ones((2, 3))
    made = checked(simulate)(lorenz, times, initial=initial)
    checked(Trajectory.__init__)(made, made.times, made.states, made.coordinates, made.provenance)
    states = checked(integrate)(compile_field(lorenz), times, initial, name="Lorenz")
    checked(System.observed)(lorenz, states)
    checked(_tangent_exponents)(lorenz, initial[0], 5.0)
    with pytest.raises(TypeCheckError):
        checked(simulate)(lorenz, times, initial=np.ones(3))
    with pytest.raises(TypeCheckError):
        checked(Trajectory.__init__)(made, made.times[1:], made.states, ("x",), {})
