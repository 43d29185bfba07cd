"""Random numbers that depend on nothing but what they are for."""

import hashlib

import numpy as np

from systems.catalog import System


def random_stream(system: System, seed: int, purpose: str, number: int) -> np.random.Generator:
    """Random numbers of their own for each system, purpose, and number of a trajectory or draw."""
    tag = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:4], "big")
    return np.random.default_rng([seed, int(system.hash[:8], 16), tag, number])
