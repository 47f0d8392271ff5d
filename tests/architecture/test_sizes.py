"""Modules and functions stay small, and common stays within its budget. Each rule shows that it can fail."""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULE_LINES = 400
FUNCTION_LINES = 70
BUS = {
    "consumers",
    "delivery",
    "following",
    "inbox",
    "lag",
    "letters",
    "messaging",
    "ordered",
    "outbox",
    "relay",
    "retention",
    "topology",
}
"""The modules of `common` that carry events; they have a budget of their own (ADR 0020, 0021)."""
BUDGETS = {"bus": 1550, "rest": 1450}
FORBIDDEN_NAMES = {"utils", "helpers", "manager", "base", "misc", "common_utils"}


def modules() -> list[Path]:
    found = [
        path
        for folder in ("libs", "services", "gateway", "tools")
        for path in ROOT.glob(f"{folder}/**/src/**/*.py")
        if "migrations" not in path.parts
    ]
    assert len(found) > 50, "the sources were not found"
    return found


def long_functions(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{node.name} ({length})"


def code_lines(source: str) -> int:
    """Count lines that hold code: no blank line, no comment, no docstring."""
    lines: set[int] = set()
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_no_module_is_longer_than_400_lines() -> None:
    long = {str(path.relative_to(ROOT)) for path in modules() if len(path.read_text().splitlines()) > MODULE_LINES}
    assert long - {"libs/common/src/common/contracts/samples.py"} == set()


def test_no_function_is_longer_than_70_lines() -> None:
    assert [f"{path}: {name}" for path in modules() for name in long_functions(path.read_text())] == []


def test_common_stays_within_its_budgets() -> None:
    own = [path for path in modules() if "common" in path.parts and "contracts" not in path.parts]
    own = [path for path in own if path.is_relative_to(ROOT / "libs/common")]
    assert len(own) > 10
    used = dict.fromkeys(BUDGETS, 0)
    for path in own:
        used["bus" if path.stem in BUS else "rest"] += code_lines(path.read_text())
    assert {name: lines for name, lines in used.items() if lines >= BUDGETS[name]} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [path for path in modules() if path.stem in FORBIDDEN_NAMES] == []


def test_the_rules_can_fail() -> None:
    body = "\n".join("    x = 1" for _ in range(FUNCTION_LINES))
    assert list(long_functions(f"def drive():\n{body}\n")) == ["drive (71)"]
    assert code_lines('"""Doc."""\n\n# why\nx = 1\ny = """two\nlines"""\n') == 3
