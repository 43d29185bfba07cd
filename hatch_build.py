"""What hatchling puts into a wheel beside the packages; not into an editable install, where the
files of the checkout are used and copies would hide them."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# 4 MB: what a new model is ranked beside, where there is no checkout.
PLACES = {
    "results/reference": "dysts_bench/results/reference",
    "results/published": "dysts_bench/results/published",
}


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            boards = Path(self.root, "results").glob("leaderboard*.csv")
            tables = {f"results/{file.name}": f"dysts_bench/results/{file.name}" for file in boards}
            build_data["force_include"] |= PLACES | tables
