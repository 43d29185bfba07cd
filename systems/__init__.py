"""Dynamical systems as data: a catalog of equations and the trajectories that they make.

>>> import systems
>>> lorenz = systems.load("Lorenz")
>>> lorenz.trajectory(1000).states.shape
(1, 1000, 3)
"""

from systems.catalog import (
    CatalogError,
    System,
    UnknownSystemError,
    load,
    load_file,
    names,
)
from systems.dataset import Dataset, make_dataset
from systems.expr import EquationError
from systems.generate import simulate
from systems.integrate import IntegrationError
from systems.outside import outside_names
from systems.trajectory import Trajectory

__all__ = [
    "CatalogError",
    "Dataset",
    "EquationError",
    "IntegrationError",
    "System",
    "Trajectory",
    "UnknownSystemError",
    "load",
    "load_file",
    "make_dataset",
    "names",
    "outside_names",
    "simulate",
]
