"""Every model of the zoo keeps the contract, in its default form and in every preset."""

import dataclasses
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import models
from models._torch_model import TorchForecaster
from models.checks import check_forecaster
from models.darts_adapter import DartsForecaster


def shrunk(model: models.Forecaster) -> models.Forecaster:
    """The model made small as its `small()` is, except in what its preset sets itself.

    Of a network's preset only switches and words are kept: its sizes may take days. Presets of a
    method of darts are other candidates, which tests/test_darts_adapter.py looks at.
    """
    if isinstance(model, DartsForecaster):
        return type(model).small()
    default = type(model)()
    small = dataclasses.asdict(type(model).small())
    own = dataclasses.asdict(model)
    untouched = {key for key, value in dataclasses.asdict(default).items() if own[key] == value}
    if isinstance(model, TorchForecaster):
        untouched |= {key for key, value in own.items() if not isinstance(value, bool | str)}
    return dataclasses.replace(model, **{key: small[key] for key in untouched})


def variants() -> list[str]:
    """By name, one of each: `tuned` is the default, and presets may differ in sizes only."""
    found: dict[str, str] = {}
    for name in models.self_contained():
        for variant in (name, *(f"{name}:{preset}" for preset in models.presets(name))):
            found.setdefault(repr(shrunk(models.create(variant))), variant)
    return list(found.values())


def lacks_a_library(cls: type[models.Forecaster]) -> bool:
    """Whether it is a method of darts that needs a library which is not installed."""
    needed = cls.libraries if issubclass(cls, DartsForecaster) else ()
    return not all(map(find_spec, needed))


@pytest.mark.parametrize("variant", variants())
def test_model_keeps_the_contract(variant: str) -> None:
    model = models.create(variant)
    if lacks_a_library(type(model)):
        pytest.skip(f"{variant} needs {', '.join(type(model).libraries)}")
    check_forecaster(shrunk(model))


WITH_WEIGHTS = [name for name in models.names() if models.class_of(name).needs_weights]


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_pretrained_model_keeps_the_contract(name: str, tmp_path: Path) -> None:
    pytest.importorskip("chronos")
    from tiny_weights import make

    check_forecaster(models.create(name, weights=make(name, tmp_path)))


def test_shapes_are_those_of_the_annotations(tmp_path: Path) -> None:
    # compiled loops have no annotations, and the hook would wrap what numba must see
    code = f"""
folder, beside = {str(tmp_path)!r}, {str(Path(__file__).parents[1])!r}
"""
    code += """
import importlib
import pkgutil
import sys
from importlib.util import find_spec
from pathlib import Path

from jaxtyping import install_import_hook

import models

names = [f"models.{info.name}" for info in pkgutil.iter_modules(models.__path__)]
for name in ["models", *names]:  # the package too: it finds members of composed models
    sys.modules.pop(name, None)
without = ["loops"] if find_spec("chronos") else ["loops", "_pretrained"]
annotated = [name for name in names if not any(word in name for word in without)]
with install_import_hook(annotated, "beartype.beartype"):
    modules = [importlib.import_module(name) for name in annotated]
    from models import base
    from models.checks import torus
    from models.darts_adapter import DartsForecaster
sys.path.insert(0, beside)
from tiny_weights import make
def small(cls):
    if not cls.needs_weights:
        return cls.small()
    name = cls.__name__.lower()
    return cls(weights=make(name, Path(folder) / name))

train, validation, context = (torus(2, trajectories=3, times=240, seed=i) for i in range(3))
for module in modules:
    for cls in vars(module).values():
        if isinstance(cls, type) and cls.__module__ == module.__name__ and hasattr(cls, "_fit"):
            if cls.__abstractmethods__ or (cls.needs_weights and not find_spec("chronos")):
                continue
            if issubclass(cls, DartsForecaster) and not all(map(find_spec, cls.libraries)):
                continue
            model = small(cls).fit(train, dt=0.1, validation=validation)
            model.predict(context, 5)
            if isinstance(model, base.Sampler):
                model.sample(context, 5, samples=2)
            if isinstance(model, base.Differentiable):
                model.lyapunov_exponents(context, 5, count=2)
            print(cls.__name__)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    expected = models.ZOO if find_spec("chronos") else models.self_contained()
    zoo = {models.class_of(name) for name in expected}
    assert {cls.__name__ for cls in zoo if not lacks_a_library(cls)} <= set(run.stdout.split())
