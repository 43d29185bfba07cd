"""The command `dysts-bench`. What its commands do stands in dysts_bench/commands, by story.

Every command imports what it needs when it is called, so that `--help` is there at once. What the
user can mend, such as a name that does not exist, ends with a message and exit code 2.
"""

import typer

from dysts_bench.commands import data, plots, report, results, running

app = typer.Typer(
    help="Benchmark forecasters on chaotic systems.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

app.command("list")(data.list_)  # `list` is Python's
for command in (
    data.show,
    data.generate,
    data.calibrate,
    data.certify,
    data.check,
    running.run,
    running.rescore,
    running.verify,
    results.leaderboard,
    results.query,
    report.report,
    results.merge,
    results.publish,
):
    app.command()(command)

app.add_typer(plots.app, name="plot")
