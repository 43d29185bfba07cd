"""Datasets: who is in them, perturbed parameters, parts without leaks, windows, streams."""

from itertools import pairwise

import numpy as np
import pytest

import systems
from systems import Dataset, make_dataset
from systems.lyapunov import lyapunov_spectrum
from systems.perturbation import PerturbationError, judge, perturbed
from systems.streaming import stream, write_stream
from systems.windows import Windows

# ---- selection ---------------------------------------------------------------------------------


def test_a_tag_chooses_its_systems():
    dataset = make_dataset("discontinuous", 5, transient=0, cache=False)
    assert list(dataset) == systems.names(tag="discontinuous") and len(dataset) > 2


def test_systems_of_ones_own_go_beside_those_of_the_catalog(make_system):
    mine = make_system({"x": "-x + sin(t)"}, [1.0])
    dataset = make_dataset([mine, "Lorenz"], 20, cache=False)
    assert list(dataset) == ["Made", "Lorenz"]
    assert dataset["Made"].hash == mine.trajectory(20, cache=False).hash


def test_neither_other_systems_nor_more_trajectories_change_a_system():
    alone = make_dataset(["Chen"], 30, noise=0.1, seed=3, cache=False)
    among = make_dataset(
        ["Lorenz", "Chen", "Rossler"], 30, noise=0.1, seed=3, trajectories=3, cache=False
    )
    assert (among["Chen"].states[:1] == alone["Chen"].states).all()


def test_progress_is_told_of_every_entry():
    told = []
    dataset = make_dataset(["Lorenz", "Chen"], 5, jobs=2, progress=told.append, cache=False)
    assert sorted(told) == sorted(dataset)


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, "at least one system"),
        (["Lorenz", "Lorenz"], {}, "Lorenz arrived more than once"),
        ("Lorenz", {}, "or a tag; a text that is no tag"),
        (["Lorenz"], {"draws": 3}, "3 draws of the parameters take perturb > 0"),
        (["Lorenz"], {"draws": 0, "perturb": 0.1}, "draws is a positive whole number"),
        (["Lorenz"], {"perturb": 1.5}, "perturb is between 0 and 1; 1.5"),
        (["Lorenz"], {"perturb": {"rh": 0.1}}, "`rh` is not a parameter. There are sigma, rho"),
        (["Lorenz"], {"perturb": 0.1, "max_seconds": 0}, "max_seconds is positive"),
    ],
    ids=str,
)
def test_bad_choices_are_refused(names, options, message):
    with pytest.raises(ValueError, match=message):
        make_dataset(names, 10, **options)


def test_provenance_holds_what_determined_the_numbers():
    made = make_dataset(["Lorenz"], 10, seed=7, perturb=0.05, cache=False)["Lorenz-0"]
    facts = made.provenance
    again = systems.load("Lorenz").with_parameters(**facts["parameters"])
    assert again.hash == facts["system_hash"] != facts["perturbed_from"]
    assert facts["perturbed_from"] == systems.load("Lorenz").hash
    options = {name: facts[name] for name in ("dt", "seed", "transient", "noise", "trajectories")}
    assert again.trajectory(facts["n"], cache=False, **options).hash == made.hash
    assert len(facts["catalog_hash"]) == 16 and facts["draw"] == 0


# ---- perturbed parameters ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def lorenz():
    return systems.load("Lorenz")


def test_draws_multiply_each_parameter_and_do_not_depend_on_each_other(lorenz):
    three, one = (
        make_dataset(["Lorenz"], 20, perturb=0.1, draws=draws, cache=False) for draws in (3, 1)
    )
    assert list(three) == ["Lorenz-0", "Lorenz-1", "Lorenz-2"]
    assert three["Lorenz-0"].hash == one["Lorenz-0"].hash
    known = lorenz.parameters
    drawn = [made.provenance["parameters"] for made in three.values()]
    factors = np.array([[one[name] / known[name] for name in known] for one in drawn])
    assert (np.abs(factors - 1) <= 0.1).all() and len(np.unique(factors)) == 9
    assert three["Lorenz-1"].system == "Lorenz" and three.rejections == {"Lorenz": {}}


def test_only_the_parameters_that_are_named_are_perturbed(lorenz):
    drawn = perturbed(lorenz, {"rho": 0.2}, draw=1).system.parameters
    assert drawn["sigma"] == 10.0 and drawn["beta"] == 8 / 3 and 22.4 <= drawn["rho"] <= 33.6
    assert drawn["rho"] != 28.0


def test_a_draw_is_chaotic_and_its_exponents_are_measured(lorenz):
    drawn = perturbed(lorenz, 0.3, draw=2).system
    longer = lyapunov_spectrum(drawn, periods=400, trajectories=4, seed=9)
    error = np.hypot(drawn.lyapunov_spectrum_error[0], longer.errors[0])
    assert abs(drawn.lyapunov_spectrum[0] - longer.exponents[0]) < 5 * error
    assert np.isfinite(drawn.trajectory(50, points_per_lyapunov_time=20, cache=False).states).all()


@pytest.mark.parametrize(
    ("parameters", "verdict"),
    [
        ({"rho": 10.0}, "fixed point"),  # below rho = 24.06 no attractor is strange
        ({"rho": 160.0}, "not chaotic"),  # a window of stable cycles, Sparrow 1982, ch. 4
        ({"sigma": -10.0}, "diverged"),  # x runs away
    ],
)
def test_rejections_have_their_reason(lorenz, parameters, verdict):
    assert judge(lorenz.with_parameters(**parameters), 100.0, 0.09, 60.0) == verdict


def test_a_draw_without_time_is_too_slow(lorenz):
    assert judge(lorenz, 100.0, 0.09, 1e-9) == "too slow"


def test_rejections_are_counted_and_a_hopeless_search_says_so(lorenz, monkeypatch):
    found = perturbed(lorenz, {"rho": 0.5}, draw=4)
    assert found.rejections == perturbed(lorenz, {"rho": 0.5}, draw=4).rejections
    counts = make_dataset(["Lorenz"], 5, perturb={"rho": 0.5}, draws=5, cache=False).rejections
    assert sum(counts["Lorenz"].values()) > 0
    monkeypatch.setattr("systems.perturbation.ATTEMPTS", 3)
    with pytest.raises(PerturbationError, match="no chaotic parameters in draw 0 after 3 sets"):
        perturbed(lorenz.with_parameters(rho=10.0), 0.01)


# ---- parts -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(
        ["Lorenz", "Rossler", "Chen", "Halvorsen"], 2000, trajectories=5,
        points_per_lyapunov_time=20, observe="states", cache=False,
    )  # fmt: skip


def test_parts_cut_in_time_keep_their_distance(dataset):
    parts = dataset.split(by="time", train=0.7, validation=0.2, test=0.1, gap=6.0)
    for name, made in dataset.items():
        pieces = [parts[part][name] for part in ("train", "validation", "test")]
        for before, after in pairwise(pieces):
            wait = after.times[0] - before.times[-1]
            assert wait > 6.0 * made.provenance["lyapunov_time"]
        sizes = [len(piece) for piece in pieces]
        assert abs(sum(sizes) - (2000 - 2 * 120)) <= 2  # rounded up
        assert np.allclose(np.array(sizes) / sum(sizes), [0.7, 0.2, 0.1], atol=1e-3)
        for piece in pieces:
            first, last = piece.provenance["points"]
            assert (piece.states == made.states[:, first:last]).all()


def test_whole_trajectories_are_dealt_out(dataset):
    parts = dataset.split(by="trajectory", train=0.6, validation=0.2, test=0.2)
    for name, made in dataset.items():
        numbers = [parts[part][name].provenance["numbers"] for part in parts]
        assert numbers == [[0, 1, 2], [3], [4]]
        joined = np.concatenate([parts[part][name].states for part in parts])
        assert (joined == made.states).all()


def test_whole_systems_are_dealt_out_with_all_their_draws():
    names = ["Lorenz", "Chen", "Halvorsen"]
    drawn = make_dataset(names, 5, perturb=0.02, draws=2, cache=False)
    options = {"by": "system", "train": 0.34, "validation": 0.33, "test": 0.33}
    parts = drawn.split(seed=1, **options)
    assert sorted(name for part in parts.values() for name in part) == sorted(drawn)
    for part in parts.values():
        assert len(part) == 2 and len({made.system for made in part.values()}) == 1
    again = drawn.split(seed=1, **options)
    assert [list(part) for part in again.values()] == [list(part) for part in parts.values()]
    orders = {tuple(drawn.split(seed=s, **options)["test"]) for s in range(12)}
    assert len(orders) == 3


def test_a_share_of_zero_has_no_part(dataset):
    assert list(dataset.split(train=0.9, validation=0.0, test=0.1)) == ["train", "test"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": 0.9, "validation": 0.2, "test": 0.1}, "sum to 1"),
        ({"train": 1.1, "validation": -0.2, "test": 0.1}, "≥ 0"),
        ({"gap": 50.0}, r"with 1000 points dropped between them .* do not fit into 2000 points"),
        ({"gap": -1.0}, "gap is a number ≥ 0"),
        ({"by": "point"}, "by time, trajectory or system; 'point' arrived"),
    ],
    ids=str,
)
def test_splits_that_cannot_be_are_refused(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        dataset.split(**options)


def test_too_few_trajectories_or_systems_are_said_so(dataset):
    with pytest.raises(ValueError, match="Lorenz: trajectories: 2 cannot be split into 3 parts"):
        Dataset({"Lorenz": dataset["Lorenz"].some([0, 1])}).split(by="trajectory")
    with pytest.raises(ValueError, match="systems: 1 cannot be split"):
        Dataset({"Lorenz": dataset["Lorenz"]}).split(by="system")
    with pytest.raises(ValueError, match="nothing to split"):
        Dataset({}).split()


# ---- windows -----------------------------------------------------------------------------------


def test_windows_are_consecutive_points_of_one_trajectory():
    states = np.arange(2 * 10 * 3, dtype=float).reshape(2, 10, 3)
    windows = Windows(states, 4, 2, stride=3, dtype="float64")
    assert len(windows) == 4  # begin at 0 and 3 of each trajectory
    seen, expected = windows[3]
    assert (seen == states[1, 3:7]).all() and (expected == states[1, 7:9]).all()
    assert seen.dtype == np.float64 and Windows(states, 4, 2)[0][0].dtype == np.float32
    assert (windows[-1][0] == seen).all()
    with pytest.raises(IndexError, match="there are 4 windows; number 4 arrived"):
        windows[4]
    assert len(list(windows)) == 4


def test_windows_that_cannot_be_are_refused():
    states = np.zeros((1, 10, 2))
    with pytest.raises(ValueError, match=r"takes 8 \+ 3 points; the trajectories have 10"):
        Windows(states, 8, 3)
    with pytest.raises(ValueError, match="stride is a positive whole number; 0"):
        Windows(states, 2, 2, stride=0)
    with pytest.raises(ValueError, match="float32 or float64"):
        Windows(states, 2, 2, dtype="float16")


def test_torch_reads_windows_in_batches(dataset):
    torch = pytest.importorskip("torch")
    windows = dataset.to_torch_windows(16, 4, stride=10)
    loader = torch.utils.data.DataLoader(windows, batch_size=8, shuffle=False)
    seen, expected = next(iter(loader))
    assert seen.shape == (8, 16, 3) and expected.shape == (8, 4, 3) and seen.dtype == torch.float32
    assert (seen[1].numpy() == dataset["Lorenz"].states[0, 10:26].astype("float32")).all()


# ---- streams -----------------------------------------------------------------------------------

STREAMED = [
    ("Lorenz", {}),  # double-double
    ("Lorenz", {"precision": "double", "trajectories": 3}),
    ("Duffing", {"trajectories": 2}),  # observed phases
    ("Chua", {"trajectories": 2}),  # kinks
    ("MackeyGlass", {"transient": 5}),  # a delay
    ("Lorenz", {"process_noise": 0.1, "trajectories": 2}),
]


@pytest.mark.parametrize(("name", "options"), STREAMED, ids=str)
def test_pieces_of_a_stream_are_one_trajectory_bit_for_bit(name, options):
    system = systems.load(name)
    whole = system.trajectory(700, seed=5, cache=False, **options)
    for chunk in (700, 300, 11):
        pieces = list(system.stream(700, seed=5, chunk=chunk, **options))
        assert [len(piece) for piece in pieces][:-1] == [chunk] * (len(pieces) - 1)
        assert (np.concatenate([piece.states for piece in pieces], axis=1) == whole.states).all()
        assert (np.concatenate([piece.times for piece in pieces]) == whole.times).all()
    shared = {"system_hash", "seed", "dt", "transient", "parameters", "catalog_hash", "method"}
    assert {key: whole.provenance[key] for key in shared} == {
        key: pieces[-1].provenance[key] for key in shared
    }


def test_a_stream_makes_no_more_than_is_asked_for(lorenz):
    pieces = lorenz.stream(10**12, chunk=50)
    assert [next(pieces).provenance["points"] for _ in range(3)] == [[0, 50], [50, 100], [100, 150]]


def test_a_stream_refuses_what_it_cannot_do_at_once(lorenz):
    with pytest.raises(ValueError, match="chunk is a positive whole number of points; 0"):
        stream(lorenz, 100, chunk=0)
    with pytest.raises(ValueError, match="n is a positive whole number"):
        stream(lorenz, 0)


def test_shards_hold_the_stream(lorenz, tmp_path):
    pytest.importorskip("pyarrow")
    whole = lorenz.trajectory(250, trajectories=2, cache=False)
    for format in ("npz", "parquet", "arrow"):
        written = []
        chunks = lorenz.stream(250, chunk=100, trajectories=2)
        files = write_stream(tmp_path, chunks, format=format, progress=written.append)
        assert [file.name for file in files] == [f"Lorenz-{i:05d}.{format}" for i in range(3)]
        assert written == [100, 100, 50]
        read = [
            systems.Trajectory.read(file) if format == "npz" else Dataset.read(file)["Lorenz"]
            for file in files
        ]
        assert (np.concatenate([one.states for one in read], axis=1) == whole.states).all()
        times = np.concatenate([one.times for one in read])
        assert np.allclose(times, whole.times, rtol=1e-13)
    with pytest.raises(ValueError, match="formats are npz, parquet and arrow; 'csv'"):
        write_stream(tmp_path, iter(()), format="csv")
