"""Imports run one way, and pure modules stay pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAY_IMPORT = {
    "iss_billing": {"iss_billing"},
    "accounts": {"iss_billing", "accounts"},
    "packs": {"iss_billing", "accounts", "packs"},
    "settlement": {"iss_billing", "accounts", "packs", "settlement"},
}
WIRING = {"iss_billing/urls.py", "iss_billing/api_urls.py"}
"""Modules that only connect the apps."""
PURE = {
    "iss_billing/money.py": set(),
    "iss_billing/days.py": set(),
    "packs/revenue.py": {"iss_billing.money"},
    "packs/drawdown.py": {"packs.revenue"},
    "packs/advisor.py": {"iss_billing.money"},
    "accounts/standing.py": set(),
    "settlement/aggregation.py": {"iss_billing.days", "iss_billing.money"},
    "settlement/pace.py": {"iss_billing.money"},
    "settlement/rating.py": {"iss_billing.money", "packs.drawdown"},
    "settlement/curve.py": {"iss_billing.days"},
    "settlement/burn.py": {"settlement.pace"},
    "settlement/replay.py": {"packs.drawdown", "settlement.rating"},
}
"""Pure modules, and which others of ours each may use."""
STANDARD = {"collections", "dataclasses", "datetime", "decimal", "enum", "fractions", "math", "re", "typing"}
STRUCTS = "msgspec"
"""Makes classes, and knows nothing else of the world."""


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def modules(app: str) -> list[Path]:
    return sorted((ROOT / app).rglob("*.py"))


@pytest.mark.parametrize("app", MAY_IMPORT)
def test_imports_run_one_way(app: str) -> None:
    assert modules(app)
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(app)
        if str(path.relative_to(ROOT)) not in WIRING
        for name in imports(path)
        if (top := name.partition(".")[0]) in {*MAY_IMPORT, "tests"} and top not in MAY_IMPORT[app]
    ]
    assert not wrong


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_know_neither_database_nor_clock_nor_settings(module: str) -> None:
    path = ROOT / module
    for name in imports(path):
        ours = any(name == allowed or name.startswith(f"{allowed}.") for allowed in PURE[module])
        outside = name.partition(".")[0] in {*STANDARD, STRUCTS} or name in {"packs", "iss_billing", "settlement"}
        assert ours or outside, name
    text = path.read_text()
    assert not [word for word in (".now(", ".today(", "float(", "objects.") if word in text]


def test_the_audit_shares_no_code_with_what_it_audits() -> None:
    own = {name for name in imports(ROOT / "settlement" / "audit.py") if name.partition(".")[0] in MAY_IMPORT}
    assert not own & {
        "settlement.aggregation",
        "settlement.rating",
        "packs.drawdown",
        "packs.revenue",
        "settlement.engine",
    }


def test_no_signals_services_or_utils() -> None:
    names = {path.stem for app in MAY_IMPORT for path in modules(app)}
    assert not names & {"signals", "services", "utils", "helpers", "misc", "common"}
