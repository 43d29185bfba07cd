"""`python -m dysts_bench` is the command `dysts-bench`."""

from dysts_bench.cli import app

if __name__ == "__main__":
    app(prog_name="dysts-bench")
