#!/usr/bin/env bash
# A Dask cluster of several worker processes on this machine, and a run on it.
#
#     examples/clusters/workers_here.sh --systems ten --models nvar,esn
set -euo pipefail

# Cells run in processes of their own beneath the workers, which must be allowed to start these.
export DASK_DISTRIBUTED__WORKER__DAEMON=False
port=${PORT:-8786}
dask scheduler --port "$port" --dashboard-address :0 &
trap 'kill $(jobs -p)' EXIT
for _ in $(seq "${WORKERS:-3}"); do
  dask worker "tcp://127.0.0.1:$port" --nthreads 1 --no-dashboard &
done
dysts-bench run --scheduler "tcp://127.0.0.1:$port" "$@"
