"""A Dask cluster on SLURM (pip install dask-jobqueue), and the profile `standard` on it.

PBSCluster and LSFCluster take the same arguments. Run it on the login node, in a tmux; stopped, it
goes on where it was when it is started again.
"""

import subprocess
import sys

from dask_jobqueue import SLURMCluster

cluster = SLURMCluster(
    cores=1,  # one thread a worker: timings compare, and a cell has the core for itself
    processes=1,
    memory="4GB",
    walltime="08:00:00",
    # the folder of trajectories should be one that all nodes see
    job_script_prologue=[
        "export DASK_DISTRIBUTED__WORKER__DAEMON=False",
        "export DYSTS_BENCH_CACHE=$HOME/dysts-bench-cache",
    ],
)
cluster.scale(jobs=100)
command = ["dysts-bench", "run", "--profile", "standard", "--memory", "3500", *sys.argv[1:]]
subprocess.run([*command, "--scheduler", cluster.scheduler_address], check=True)
