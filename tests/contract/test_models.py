"""Every model of the zoo keeps the contract, in its default form and in every preset."""

import dataclasses

import pytest

import models
from models.checks import check_forecaster

VARIANTS = [
    f"{name}:{preset}" if preset else name
    for name in models.names()
    for preset in ["", *models.presets(name)]
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_model_keeps_the_contract(variant: str) -> None:
    check_forecaster(shrunk(models.create(variant)))


def shrunk(model: models.Forecaster) -> models.Forecaster:
    """The model made small as its `small()` is, except in what its preset sets itself."""
    default = type(model)()
    small = dataclasses.asdict(type(model).small())
    own = dataclasses.asdict(model)
    untouched = {key for key, value in dataclasses.asdict(default).items() if own[key] == value}
    return dataclasses.replace(model, **{key: small[key] for key in untouched})
