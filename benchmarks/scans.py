"""Mamba layers beside mambapy and transformers on a CPU: equal sizes, in turns, in one run.

    python -m benchmarks.scans [--repetitions 5] [--longest 1024]

Whole layers in float32, forward alone and with the gradients of the input and of all weights; on
one thread in CPU seconds, on two in seconds of the clock. mambapy has Mamba-1 (its parallel scan),
transformers both by the code that it takes where there are no CUDA kernels. Where a peer has the
same layer it gets our weights, and outputs and gradients are compared before anything is timed.
Sizes are those of PhyxMamba and of HiSS's levels, at their own lengths and at longer ones.
"""

import json
import logging
import os
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # a thread that waits would be a busy machine to others

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks._turns import in_turns
from models.ssm import Mamba1, Mamba2

OUT = Path(__file__).with_name("out") / "scans.json"
CLOCKS = {1: time.process_time, 2: time.perf_counter}  # by the number of threads
OURS = ("ours, Mamba-2", "ours, Mamba-1")
QUADRATIC = "transformers, Mamba-1"  # its gradients are, in the length: half a minute at 1024
NAMES = (*OURS, "mambapy, Mamba-1", QUADRATIC, "transformers, Mamba-2")


@dataclass(frozen=True)
class Size:
    """Of a layer and its input; `headdim` is Mamba-2's alone."""

    name: str
    batch: int
    times: int
    width: int
    states: int
    headdim: int = 16


SIZES = [
    Size("PhyxMamba", batch=32, times=6, width=64, states=32),
    Size("HiSS, low", batch=240, times=5, width=32, states=16),
    Size("HiSS, high", batch=16, times=16, width=64, states=16),
    *(Size("longer", batch=8, times=t, width=64, states=16) for t in (64, 256, 1024)),
    Size("longer", batch=8, times=256, width=64, states=32),
]


def main(repetitions: int = 5, longest: int = 1024) -> None:
    """Print the table and keep the figures in benchmarks/out/scans.json."""
    rows: list[dict[str, Any]] = []
    table = Table("size", "b, t, width, states", "threads", "job", title="milliseconds")
    for name in NAMES:
        table.add_column(name, justify="right")
    for size in SIZES:
        if size.times > longest:
            continue
        torch.manual_seed(0)
        u = torch.randn(size.batch, size.times, size.width)
        layers = made(size)
        gaps = {name: gap(layers, name, u) for name in layers}
        for threads, clock in CLOCKS.items():
            torch.set_num_threads(threads)
            for job, work in JOBS.items():
                codes = {
                    name: partial(work, layer, u)
                    for name, layer in layers.items()
                    if work is forward or name != QUADRATIC or size.times <= 64
                }
                seconds = in_turns(codes, repetitions, clock)
                shown = (f"{1000 * seconds[name]:.3g}" if name in codes else "" for name in NAMES)
                sizes = f"{size.batch}, {size.times}, {size.width}, {size.states}"
                table.add_row(size.name, sizes, str(threads), job, *shown)
                row = asdict(size) | {"threads": threads, "job": job}
                rows += [
                    row | {"code": n, "seconds": t, "gap": gaps[n]} for n, t in seconds.items()
                ]
    Console(width=160).print(table)
    for threads in CLOCKS:
        for ours in OURS:
            print(
                f"{threads} thread(s), mambapy in times of {ours}: {_ratios(rows, threads, ours)}"
            )
    OUT.parent.mkdir(exist_ok=True)
    figures = {"load": os.getloadavg()[0], "torch": torch.__version__, "rows": rows}
    OUT.write_text(json.dumps(figures, indent=1) + "\n")


def _ratios(rows: list[dict[str, Any]], threads: int, ours: str) -> str:
    """Of seconds, for each job in the order of sizes."""
    seconds = {(r["job"], r["code"]): [] for r in rows}
    for row in rows:
        if row["threads"] == threads:
            seconds[row["job"], row["code"]].append(row["seconds"])
    return "; ".join(
        job + " " + ", ".join(f"{a / b:.2g}" for a, b in zip(theirs, own, strict=True))
        for job in JOBS
        for theirs, own in [(seconds[job, "mambapy, Mamba-1"], seconds[job, ours])]
    )


def made(size: Size) -> dict[str, nn.Module]:
    """Our layers and those of the peers, with equal weights."""
    logging.disable(logging.WARNING)  # transformers says again and again that it has no kernels
    from mambapy.mamba import MambaBlock
    from mambapy.mamba import MambaConfig as MambapyConfig
    from transformers import Mamba2Config, MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    ours2 = Mamba2(size.width, d_state=size.states, headdim=size.headdim)
    ours1 = Mamba1(size.width, d_state=size.states)
    mambapy = MambaBlock(MambapyConfig(d_model=size.width, n_layers=1, d_state=size.states))
    settings: dict[str, Any] = {"hidden_size": size.width, "state_size": size.states}
    slow1 = MambaMixer(MambaConfig(**settings, use_mambapy=False), layer_idx=0)
    settings |= {"head_dim": size.headdim, "num_heads": ours2.heads, "n_groups": 1}
    # it fills up the last chunk, so that a long one would be unfair
    chunk = min(ours2.chunk, size.times)
    slow2 = Mamba2Mixer(Mamba2Config(**settings, chunk_size=chunk), layer_idx=0)
    for theirs, layer in ((mambapy, ours1), (slow1, ours1), (slow2, ours2)):
        theirs.load_state_dict(layer.state_dict())
    return dict(zip(NAMES, (ours2, ours1, mambapy, slow1, slow2), strict=True))


def gap(layers: dict[str, nn.Module], name: str, u: Tensor) -> float:
    """The largest difference of output and gradients from ours, in units of our largest."""
    ours, layer = layers[OURS[0] if name.endswith("Mamba-2") else OURS[1]], layers[name]
    expected, found = {"output": forward(ours, u)}, {"output": forward(layer, u)}
    if name != QUADRATIC or u.shape[1] <= 64:
        expected |= with_gradients(ours, u)
        found |= with_gradients(layer, u)
    worst = max(
        float((found[part] - value).abs().max() / value.abs().max())
        for part, value in expected.items()
    )
    assert worst < 1e-4, f"{name} gives something else: {worst:.1e}"
    return worst


def forward(layer: nn.Module, u: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(u)


def with_gradients(layer: nn.Module, u: Tensor) -> dict[str, Tensor]:
    """Of the mean square, by the input and by each weight."""
    inputs = {"input": u.clone().requires_grad_()} | dict(layer.named_parameters())
    loss = layer(inputs["input"]).square().mean()
    return dict(zip(inputs, torch.autograd.grad(loss, list(inputs.values())), strict=True))


JOBS = {"forward": forward, "and backward": with_gradients}


if __name__ == "__main__":
    typer.run(main)
