"""The style is a test: shape, places of SQL and clocks, no floats near money, one list of states everywhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchrun.queue.statements import migrations, statements
from batchrun.queue.states import FINAL, MOVES, PAID_FOR, AttemptState, JobState

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "batchrun"
MODULES = sorted(PACKAGE.rglob("*.py"))
FUNCTION_LINES = 60
MODULE_LINES = 400


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_short_modules_of_short_functions(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= MODULE_LINES
    long = [one.name for one in functions(ast.parse(text)) if (one.end_lineno or 0) - one.lineno >= FUNCTION_LINES]
    assert not long


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_clock_outside_clock(path: Path) -> None:
    if path.name == "clock.py":
        return
    found = re.findall(
        r"\b(?:time\.(?:time|monotonic|sleep|perf_counter)\w*|asyncio\.(?:sleep|timeout|wait_for)|datetime\.now|\.today)\b\(",
        path.read_text("utf-8"),
    )
    assert not found


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_sql_outside_its_folder(path: Path) -> None:
    if path == PACKAGE / "queue" / "sqlite.py":  # speaks of the connection itself: PRAGMA, BEGIN, SAVEPOINT
        return
    assert not re.search(r"[\"'](?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE)\b", path.read_text("utf-8"))


@pytest.mark.parametrize("folder", ["queue", "manifest", "run", "plan.py", "money.py"])
def test_no_float_near_money(folder: str) -> None:
    for path in [PACKAGE / folder] if folder.endswith(".py") else (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                assert "usd" not in ast.unparse(node), f"{path}:{node.lineno}"
            if isinstance(node, ast.AnnAssign) and "usd" in ast.unparse(node.target):
                assert "float" not in ast.unparse(node.annotation), f"{path}:{node.lineno}"


def test_every_statement_is_used_and_every_used_one_exists() -> None:
    text = "\n".join(path.read_text("utf-8") for path in MODULES)
    known = set(statements())
    unused = {name for name in known if f'"{name}"' not in text}
    assert not unused
    asked = set(
        re.findall(
            r"""(?:(?<![_\w])(?:ask|ask_one|run_all|guarded|_noted|Call)|self\._guarded|\.write)\(\s*"(\w+)\"""", text
        )
    )
    assert asked <= known


def test_the_states_are_one_list() -> None:
    sql = "\n".join(text for _, text in migrations("sqlite"))
    lists = {
        table.removesuffix("_2"): set(re.findall(r"'(\w+)'", body))  # a table that is made anew is the newer one
        for table, body in re.findall(
            r"CREATE TABLE (\w+) \([^;]*?state TEXT NOT NULL CHECK \(state IN \(([^)]+)\)\)", sql
        )
    }
    assert lists == {"jobs": set(JobState), "attempts": set(AttemptState)}
    assert set(MOVES) == set(JobState)
    assert not FINAL & PAID_FOR


def test_the_readme_draws_the_states_as_they_are() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    drawn = {tuple(pair) for pair in re.findall(r"^ +(\w+) --> (\w+)$", readme, re.MULTILINE)}
    assert drawn == {(one.value, other.value) for one, others in MOVES.items() for other in others}


def test_the_readme_names_every_exit_code_and_every_verb() -> None:
    from batchrun.cli.main import VERBS  # noqa: PLC0415  # only this test needs it
    from batchrun.errors import EXIT_MEANING  # noqa: PLC0415  # only this test needs it

    readme = (ROOT / "README.md").read_text("utf-8")
    for code, meaning in EXIT_MEANING.items():
        assert re.search(rf"^\| {int(code)} \| {re.escape(meaning)} \|$", readme, re.MULTILINE), code
    assert all(f"`batchrun {verb}" in readme or verb == "run" for verb in VERBS)


def test_nothing_happens_on_import() -> None:
    for path in MODULES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
                pytest.fail(f"{path}:{node.lineno} does something when it is imported")
