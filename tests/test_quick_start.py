"""The quick start in docs/api.md: every snippet runs, in its order, and comes to the first bill."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from settlement.models import Bill
from tests.conftest import ROOT, database_url
from tests.worlds import assert_books, yuan

GUIDE = (ROOT / "docs" / "api.md").read_text()
JQ = """import json, sys
path = sys.argv[-1].removeprefix(".")
value = json.load(sys.stdin)
for name in path.replace("[0]", ".0").split("."):
    value = value[int(name)] if name.isdigit() else value[name]
print(value)
"""


def snippets(language: str) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", GUIDE, re.S))


def run(command: list[str], environment: dict[str, str]) -> str:
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.django_db(transaction=True)
def test_the_quick_start_comes_to_the_first_bill(live_server: LiveServer, tmp_path: Path) -> None:
    assert shutil.which("curl"), "the quick start needs curl: apt-get install curl"
    now = timezone.localtime()
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "jq.py").write_text(JQ)
    # where there is none; by way of a shell, for the path of our own Python may have spaces
    (tools / "jq").write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(tools / "jq.py"))} "$@"\n'
    )
    (tools / "jq").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATABASE_URL": database_url(),
        "BASE": f"{live_server.url}/api/v1",
        "TIME": now.isoformat(),
        "TOMORROW": f"{now.date() + timedelta(days=1)}T02:00",
    }
    said = run(["bash", "-euo", "pipefail", "-c", snippets("sh") + '\nprintf "\\nKEY=%s\\n" "$KEY"'], environment)
    assert '"accepted":1' in said.replace(" ", "")
    bill = Bill.objects.get()
    assert (bill.amount_due, bill.lines.get().drawn) == (yuan("1.00"), 200_000)
    assert f'"bill_id":"{bill.pk}"' in said.replace(" ", "")
    key = re.findall(r"^KEY=(.+)$", said, re.M)[0]
    said = run([sys.executable, "-c", snippets("python")], environment | {"KEY": key})
    assert re.search(r"bought \d+ for 250.00", said)
    assert f"{now.date()} ai.pet drawn 200000 charged 400 1.000000" in said
    assert "402 insufficient_balance 249751.00" in said
    assert_books()


def test_no_snippet_is_left_out() -> None:
    assert set(re.findall(r"```(\w+)", GUIDE)) == {"sh", "json", "python"}
