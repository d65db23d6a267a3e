"""The customer's script as the tests run it: loaded as a module, or as a customer does, in a process of its own."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.utils import timezone

from settlement.models import Bill
from settlement.recheck import recheck_file
from tests.conftest import ROOT

SCRIPT = ROOT / "static" / "recheck" / "recheck.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("customers_recheck", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["customers_recheck"] = module  # where dataclasses and named tuples look for their annotations
    spec.loader.exec_module(module)
    return module


TOOL = _load()


def file_of(bill: Bill, language: str = "en") -> str:
    """The text of a bill's recheck file."""
    now = timezone.now()
    return "".join(recheck_file(bill, language=language, script_url="https://example.com/recheck.py", now=now))


def findings(document: Any) -> list[str]:
    """What the script finds wrong with a document; a file that it refuses is a finding too."""
    try:
        check = TOOL.Recheck(TOOL.File(json.loads(json.dumps(document), object_pairs_hook=TOOL.once)))
    except TOOL.Unreadable as refusal:
        return [f"refused: {refusal}"]
    check.run()
    say: Callable[..., str] = TOOL.Teller(False)
    return [f"{where}: {say(message, **words)}" for where, message, words in check.found]


def sealed(document: Any) -> Any:
    """The document with the digests of a forger who knows the format."""
    return document | {"digests": {name: TOOL.digest(document[name]) for name in document["digests"]}}


def assert_right(bill: Bill) -> Any:
    """The bill's file rechecks clean; the document."""
    document = json.loads(file_of(bill))
    assert findings(document) == [], f"bill {bill.pk}"
    return document


def run(path: Path, *arguments: str, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    """As a customer runs it: isolated from this project and its libraries."""
    command = [sys.executable, "-I", "-S", str(script), str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False, cwd="/")
