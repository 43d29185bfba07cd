"""Which cells a command is about: systems, models and profiles by the names that a user types.

ValueError or KeyError, with a suggestion, for a name that does not exist.
"""

import contextlib
from dataclasses import dataclass
from difflib import get_close_matches

import models as zoo
import systems as catalog
from dysts_bench import runner
from dysts_bench.cells import Cell, ModelSpec, split_list
from dysts_bench.task import Profile, Suite, tasks

Part = tuple[list[ModelSpec], list[str]]  # models, and the systems they run on


@dataclass(frozen=True)
class Selection:
    """Which models run on which systems: those named, or the user's own, or the profile's."""

    suite: Suite
    profile: Profile
    parts: list[Part]
    left_out: list[str]  # models that "all" leaves out, as they need weights

    @classmethod
    def of(
        cls, suite: Suite, profile: str, systems: str, models: str | None, files: list[str]
    ) -> "Selection":
        """From a profile's name, systems and models as on the command line, and models of files."""
        if profile not in suite.profiles:
            known = ", ".join(suite.profiles)
            raise ValueError(f"no profile is called {profile!r}. Known: {known}")
        settings, on = suite.profiles[profile], _systems_of(suite, systems)
        named = models is not None or bool(files)
        every = models == "all" or (not named and settings.models is None)
        included = zoo.self_contained()
        left_out = [name for name in zoo.names() if name not in included] if every else []
        if named:
            return cls(suite, settings, [(_model_specs(models, files), on)], left_out)
        parts = [(_model_specs(",".join(settings.models or ["all"]), []), on)]
        for subset, its in settings.also.items():
            few = [name for name in on if name in suite.subsets[subset]]
            if few:
                parts.append((_model_specs(",".join(its), []), few))
        return cls(suite, settings, parts, left_out)

    def cells(self, seeds: int | None) -> list[Cell]:
        """All of them, with as many seeds, or as the profile says; the slow models first.

        At the end no worker then waits long for another.
        """
        return [
            cell
            for specs, names in reversed(self.parts)
            for cell in runner.cells(tasks(self.suite, names), specs, seeds or self.profile.seeds)
        ]

    def told(self) -> str:
        """How much there is to do, in words."""
        counts = [f"{len(specs)} models on {len(names)} systems" for specs, names in self.parts]
        return " and ".join(counts)


def system_names(text: str) -> list[str]:
    """Systems named with commas between, or "all"."""
    names = catalog.names() if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        catalog.load(name)  # raises for a name that does not exist
    return list(dict.fromkeys(names))


def shard_of(text: str) -> tuple[int, int]:
    """From `3/10`."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit()):
        raise ValueError(f"--shard is i/n, such as 3/10, got {text!r}")
    return int(number), int(count)


def _systems_of(suite: Suite, text: str) -> list[str]:
    """Systems named, a subset of the suite, or all that it has."""
    known = suite.subsets | {"all": suite.systems}
    meant = get_close_matches(text, suite.subsets, n=1, cutoff=0.7)
    if meant and text not in (*known, *catalog.names()):
        raise ValueError(f"no subset is called {text!r}. Did you mean {meant[0]}?")
    return list(known[text]) if text in known else system_names(text)


def _model_specs(names: str | None, files: list[str]) -> list[ModelSpec]:
    """The models named, then the user's own."""
    chosen = zoo.self_contained() if names == "all" else split_list(names or "")
    specs = list(dict.fromkeys(ModelSpec.parse(text) for text in [*chosen, *files]))
    if len({spec.label for spec in specs}) < len(specs):
        raise ValueError("two models would have one name in the results: rename one of the classes")
    for spec in specs:
        with contextlib.suppress(ImportError):  # a missing library becomes rows that say so
            spec.create()
    return specs
