#!/usr/bin/env bash
# A job array without any engine: each job does its part, in one folder that all nodes see.
#
#     sbatch --array=1-50 examples/clusters/slurm_array.sh --profile standard
#
# Where nodes see no common folder, give each part its own (--results "$TMPDIR/part") and copy them to
# one place; `dysts-bench merge part-*` makes one table of them.
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=08:00:00
set -euo pipefail

part=${SLURM_ARRAY_TASK_ID:-1}
parts=${SLURM_ARRAY_TASK_COUNT:-1}
dysts-bench run --shard "$part/$parts" --jobs "${SLURM_CPUS_PER_TASK:-1}" "$@"
