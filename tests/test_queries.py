"""Queries against sums done by hand and by pandas, what they may not do, and docs/queries.md."""

import gzip
import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from test_leaderboard import row
from typer.testing import CliRunner

from dysts_bench import queries, records
from dysts_bench.cli import app
from dysts_bench.leaderboard import as_text, leaderboard

pytest.importorskip("duckdb")
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "queries.md").read_text(encoding="utf-8")
ROWS = [
    row("esn", "Lorenz", 0.1 + 0.2, seed=1),
    row("esn", "NA", None, window=3),  # a system of this name is a system
    row("nvar", "Lorenz", 5.0, window=None, preset='say "units=300, x|y"'),
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DYSTS_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def results(tmp_path):
    records.write_csv(tmp_path / "reference" / "standard" / "esn.csv.gz", ROWS[:2])
    records.write_csv(tmp_path / "local" / "standard" / "nvar.csv", ROWS[2:])
    table = leaderboard(records.load_results(tmp_path))
    records.write_atomically(tmp_path / "leaderboard.csv", as_text(table, "csv"))
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "standard.csv").write_text(
        "model,system,metric,value\ntheirs,Lorenz,valid_prediction_time,2.5\n"
    )
    return tmp_path


def rows_of(sql, results):
    return queries.answer(sql, results)[1]


# ---- answers ---------------------------------------------------------------------------------


def test_every_field_of_every_row_comes_back_as_it_was_written(results):
    columns, found = queries.answer("select * from results order by model, system", results)
    assert columns == [*records.COLUMNS, "source"]
    expected = [
        (*(getattr(result, name) for name in records.COLUMNS), source)
        for result, source in zip(ROWS, ("reference", "reference", "local"), strict=True)
    ]
    assert found == expected
    kinds = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}
    types = dict(rows_of("select column_name, column_type from (describe results)", results))
    assert set(types.values()) == set(kinds.values())
    for name, value in zip(columns, expected[0], strict=True):
        if value is not None:
            assert types[name] == kinds[type(value)], name


def test_the_catalog_the_tasks_and_the_published_figures_are_tables_to_join(results):
    import systems

    lorenz = systems.load("Lorenz")
    [facts] = rows_of(
        "select dimension, tags, lyapunov_spectrum, certified_horizon, catalog_hash from systems"
        " where system = 'Lorenz' and edition = 'corrected'",
        results,
    )
    assert facts == (
        3,
        list(lorenz.tags),
        list(lorenz.lyapunov_spectrum),
        dict(lorenz.certified_horizon),
        lorenz.hash[:12],
    )
    counted = rows_of("select count(*), count(distinct system) from systems", results)
    assert counted == [(2 * len(systems.names()), len(systems.names()))]
    assert rows_of("select task, track, entries, in_periods from tasks order by 1", results) == [
        ("main/Lorenz", "main", 2, False),
        ("main/NA", "main", 1, False),
    ]
    beside = "select results.model, published.value from published join results using (system)"
    assert rows_of(beside + " order by 1", results) == [("esn", 2.5), ("nvar", 2.5)]


def test_the_leaderboard_is_the_table_as_it_was_written(results):
    written = pd.read_csv(results / "leaderboard.csv", float_precision="round_trip")
    found = queries.query("select * exclude suite from leaderboard", results)
    both = [table.astype(object).where(table.notna(), None) for table in (found, written)]
    pd.testing.assert_frame_equal(*both)
    assert set(rows_of('select suite, "group" from leaderboard', results)) == {
        ("standard", "chaotic"),
        ("standard", "yours"),
    }


def test_a_package_brings_leaderboards_which_those_of_the_folder_replace(
    results, tmp_path_factory, monkeypatch
):
    own = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr(records, "BUNDLED", results)
    board = (results / "leaderboard.csv").read_bytes()
    (results / "leaderboard-other.csv").write_bytes(board)
    entries = "select suite, count(*) from leaderboard group by 1 order by 1"
    assert rows_of(entries, own) == [("other", 4), ("standard", 4)]
    (own / "leaderboard.csv").write_bytes(b"\n".join(board.split(b"\n")[:2]))
    assert rows_of(entries, own) == [("other", 4), ("standard", 1)]
    (own / "reference").mkdir()  # rows of the folder's own: those of the package do not count
    assert rows_of(entries, own) == [("standard", 1)]


def test_medians_of_the_reference_results_are_those_of_pandas():
    rows = records.load_results(ROOT / "results", suite=None)
    expected = rows.groupby(["suite", "metric"], observed=True)["value"].median().dropna()
    sql = "select suite, metric, median(value) as m from results group by all having m is not null"
    found = queries.query(sql, ROOT / "results").set_index(["suite", "metric"])["m"]
    assert len(found) > 50
    assert found.to_dict() == pytest.approx(expected.to_dict(), rel=1e-12)


def test_rows_that_changed_are_read_anew_and_others_are_not(results, monkeypatch):
    count = "select count(*) from results"
    assert rows_of(count, results) == [(3,)]
    monkeypatch.setattr(queries, "_build", None)  # called, it would fail
    assert rows_of(count, results) == [(3,)]
    monkeypatch.undo()
    records.write_csv(results / "local" / "standard" / "drift.csv", ROWS[:1])
    assert rows_of(count, results) == [(4,)]


def test_no_more_than_a_few_databases_are_kept(results):
    for i in range(queries.KEPT + 2):
        records.write_csv(results / "local" / "standard" / f"m{i}.csv", ROWS[:1])
        assert rows_of("select count(*) from results", results) == [(4 + i,)]
    folder = queries._database(results).parent
    assert len(list(folder.iterdir())) == queries.KEPT


def test_what_a_killed_process_left_is_removed_and_what_another_makes_is_not(results):
    folder = queries._database(results).parent
    for name, age in ((".old.part", 2 * queries.HOUR), (".old.part.wal", 2 * queries.HOUR)):
        (folder / name).touch()
        os.utime(folder / name, times=(time.time() - age,) * 2)
    (folder / ".young.part").touch()
    records.write_csv(results / "local" / "standard" / "more.csv", ROWS[:1])
    assert rows_of("select count(*) from results", results) == [(4,)]
    assert [part.name for part in folder.glob(".*")] == [".young.part"]
    (folder / ".young.part").unlink()


def test_parquet_counts_where_no_csv_lies_beside_it(results):
    pytest.importorskip("pyarrow")
    folder = results / "local" / "standard"
    for name in ("nvar", "other"):
        frame = records.to_frame([replace(ROWS[2], model=name)]).drop(columns="source")
        frame.to_parquet(folder / f"{name}.parquet")
    sql = "select model, value, source from results where source = 'local' order by 1"
    assert rows_of(sql, results) == [("nvar", 5.0, "local"), ("other", 5.0, "local")]
    frame = records.load_results(results)
    assert frame.loc[frame["source"] == "local", "model"].tolist() == ["nvar", "other"]
    assert frame["window"].dtype == "Int64" and frame["censored"].dtype == "boolean"


def test_where_there_are_no_results_there_is_the_catalog(tmp_path):
    assert rows_of("select count(*) from results", tmp_path) == [(0,)]
    assert rows_of("select count(*) > 200 from systems", tmp_path) == [(True,)]


# ---- what a query may not do -----------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from glob('/etc/*')",
        "select * from read_parquet('{folder}/x.parquet')",
        "copy results to '{folder}/out.csv'",
        "copy (select 1) to '{folder}/out.parquet'",
        "export database '{folder}/out'",
        "attach '{folder}/other.duckdb'",
        "create table mine as select 1",
        "create temp table mine as select 1",
        "insert into systems select * from systems",
        "delete from results",
        "drop table results",
        "update published set value = 0",
        "set enable_external_access = true",
        "pragma enable_profiling",
        "install httpfs",
        "load httpfs",
        "select 1; drop table results",
        "call pragma_version()",
        "checkpoint",
        "select * from ROWS",  # a variable of Python's
        "",
    ],
)
def test_a_query_can_neither_write_nor_read_anything_else(sql, results):
    before = sorted(results.rglob("*"))
    with pytest.raises(ValueError, match=r"the query failed|a query is one SELECT"):
        queries.answer(sql.replace("{folder}", str(results)), results)
    assert sorted(results.rglob("*")) == before
    assert rows_of("select count(*) from results", results) == [(3,)]


def cli(*arguments, code=0):
    done = CliRunner().invoke(app, ["query", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_wrong_sql_ends_with_code_2_and_says_where(results):
    said = cli("select modle from results", "--results", str(results), code=2)
    assert '"modle" not found' in said and '"model"' in said and "^" in said
    assert "syntax error" in cli("selec 1", "--results", str(results), code=2)


def test_a_damaged_file_is_named(results):
    path = results / "reference" / "standard" / "esn.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(text.replace(",true,", ",perhaps,").encode()))
    said = cli("select 1", "--results", str(results), code=2)
    assert "damaged" in said and "esn.csv.gz" in said
    path.write_bytes(gzip.compress(text.replace("seed", "sead").encode()))
    assert "columns differ" in cli("select 1", "--results", str(results), code=2)


def test_without_duckdb_the_way_to_install_it_is_said(monkeypatch, results):
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    said = cli("select 1", "--results", str(results), code=2)
    assert 'pip install "dysts-bench[query]"' in said


# ---- formats and the page --------------------------------------------------------------------


def test_an_answer_is_written_in_the_format_asked_for(results, tmp_path):
    sql = "select model, preset, value, [1, 2] as pair from results where value > 0 order by value"
    at = ("--results", str(results))
    assert cli(sql, *at, "--format", "csv").splitlines() == [
        "model,preset,value,pair",
        'esn,,0.30000000000000004,"[1, 2]"',
        'nvar,"say ""units=300, x|y""",5.0,"[1, 2]"',
    ]
    assert json.loads(cli(sql, *at, "--format", "json"))[0] == {
        "model": "esn",
        "preset": "",
        "value": 0.1 + 0.2,
        "pair": [1, 2],
    }
    markdown = cli(sql, *at, "--format", "markdown").splitlines()
    assert markdown[3] == '| nvar | say "units=300, x\\|y" | 5 | [1, 2] |'
    assert "0.3 " in cli(sql, *at)
    cli(sql, *at, "--output", str(tmp_path / "answer.csv"))
    assert (tmp_path / "answer.csv").read_text().count("\n") == 3


@pytest.mark.parametrize("sql", re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL))
def test_a_query_of_the_page_has_an_answer(sql):
    _, found = queries.answer(sql, ROOT / "results")
    assert found and all(any(value is not None for value in line) for line in found)


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_code_of_the_page_runs(code, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(code, {})
    assert capsys.readouterr().out.strip()


def test_the_page_explains_every_column_with_its_type():
    names = {"varchar": "text", "bigint": "integer", "double": "number", "boolean": "truth value"}
    explained = dict(re.findall(r"^\| `(\w+)` \| ([a-z ]+) \|", PAGE, re.MULTILINE))
    types = records.sql_types() | {"source": "varchar"}
    assert list(explained)[: len(types)] == list(types)
    for name, kind in types.items():
        assert explained[name].removesuffix(" or none") == names[kind], name
