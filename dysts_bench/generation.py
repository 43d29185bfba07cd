"""What `dysts-bench generate` does: datasets, their parts, and streams, with a look at progress."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from systems import Dataset

SHARES = ("train", "validation", "test")


def make(console: "Console", names: Sequence[str], points: int, **options: Any) -> "Dataset":
    """`systems.make_dataset` with a progress display and a line of rejections for each system."""
    import systems
    from dysts_bench import display

    latest = [""]
    total = len(names) * options.get("draws", 1)
    with display.progress(console, "data", total, lambda: latest[0]) as bar:

        def done(name: str) -> None:
            latest[0] = name
            bar.advance()

        dataset = systems.make_dataset(names, points, progress=done, **options)
    for name, counts in dataset.rejections.items():
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        console.print(
            f"{name}: {sum(counts.values())} draws of parameters rejected"
            f"{f' ({said})' if said else ''}",
            highlight=False,
        )
    totals = sum((Counter(counts) for counts in dataset.rejections.values()), Counter[str]())
    if len(dataset.rejections) > 1:
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(totals.items()))
        console.print(f"all systems: {totals.total()} rejected ({said})", highlight=False)
    return dataset


def save(dataset: "Dataset", folder: Path, format: Any, split: Mapping[str, Any] | None) -> int:
    """Write the dataset, or its parts into folders of their own; returns the number of files."""
    if split is None:
        return len(dataset.save(folder, format))
    parts = dataset.split(**split)
    return sum(len(part.save(folder / name, format)) for name, part in parts.items())


def shares(text: str) -> dict[str, float]:
    """ "0.8,0.1,0.1" → the shares of train, validation and test."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(SHARES):
        raise ValueError(f"shares are three numbers, as in 0.8,0.1,0.1; {text!r} arrived.")
    return dict(zip(SHARES, numbers, strict=True))


def stream(
    console: "Console",
    names: Sequence[str],
    points: int,
    *,
    edition: Any,
    chunk: int,
    folder: Path,
    format: Any,
    **options: Any,
) -> int:
    """Write each system's trajectory as shards of `chunk` points; returns the number of files."""
    import systems
    from dysts_bench import display
    from systems.streaming import write_stream

    latest = [""]
    files = 0
    total = len(names) * -(-points // chunk)
    with display.progress(console, "chunks", total, lambda: latest[0]) as bar:
        for name in names:
            latest[0] = name
            chunks = systems.load(name, edition).stream(points, chunk=chunk, **options)
            files += len(
                write_stream(folder, chunks, format=format, progress=lambda _: bar.advance())
            )
    return files
