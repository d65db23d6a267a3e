"""`make lighthouse [RUNS=5]`: Lighthouse on a phone over overview, buy and bill; writes docs/lighthouse.{md,json}."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from iss_billing.days import SHANGHAI
from tests.bench.database import processor
from tests.browser import ARGUMENTS, NAMES
from tests.lighthouse.site import PROXY, ROOT, VAR, served

CATEGORIES: Final = ("performance", "accessibility", "best-practices")
TRIES: Final = 3
"""Of one run: at times the browser is not recorded."""
LEAST: Final = 95
METRICS: Final = {
    "first-contentful-paint": "first paint, ms",
    "largest-contentful-paint": "largest paint, ms",
    "total-blocking-time": "blocked, ms",
    "cumulative-layout-shift": "layout shift",
    "speed-index": "speed index, ms",
}
HERE = Path(__file__).resolve().parent
Run = dict[str, Any]


def lighthouse() -> Path:
    """The program, of the version that package.json pins; installed into `var/` the first time. Raises OSError."""
    pinned = (HERE / "package.json").read_text()
    kept = VAR / "npm" / "package.json"
    program = kept.parent / "node_modules" / ".bin" / "lighthouse"
    if not program.exists() or not kept.exists() or kept.read_text() != pinned:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(pinned)
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel", "error"]
        subprocess.run(command, cwd=kept.parent, check=True)
        kept.write_text(pinned)
    return program


def measure(program: Path, address: str, headers: Path) -> Run:
    """One run on one page: what is kept of its report."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    flags = " ".join(["--headless=new", *ARGUMENTS])
    command = [str(program), address, "--output=json", "--quiet", f"--extra-headers={headers}"]
    command += [f"--only-categories={','.join(CATEGORIES)}", f"--chrome-flags={flags}"]
    env = dict(os.environ) | ({"CHROME_PATH": chromium} if chromium else {})
    for _again in range(TRIES - 1):
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=False)
        if not done.returncode:
            return summary(json.loads(done.stdout))
        print(f"no run of {address}: once more", flush=True)  # noqa: T201 - the browser was not recorded, or not found
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
    return summary(json.loads(done.stdout))


def summary(report: dict[str, Any]) -> Run:
    """Scores of 100, metrics, and what scored less than it could; a report itself has half a megabyte."""
    if "runtimeError" in report:
        raise AssertionError(report["runtimeError"]["message"])
    if report["finalDisplayedUrl"] != report["requestedUrl"]:
        raise AssertionError(f"asked {report['requestedUrl']}, got {report['finalDisplayedUrl']}")
    audits = report["audits"]
    counted = {
        part["id"]: part["weight"] for kind in report["categories"].values() for part in kind["auditRefs"]
    }  # weight 0: advice, no part of a score
    return {
        "scores": {name: round(report["categories"][name]["score"] * 100) for name in CATEGORIES},
        "metrics": {name: round(audits[name]["numericValue"], 4) for name in METRICS},
        "failing": {
            name: {"score": audit["score"], "weight": counted[name], "says": audit.get("displayValue", "")}
            for name, audit in sorted(audits.items())
            if name in counted and audit["score"] is not None and audit["score"] < 0.9
        },
        "fetched": report["fetchTime"],
        "benchmark_index": report["environment"]["benchmarkIndex"],
        "warnings": report["runWarnings"],
    }


def median(runs: list[Run]) -> dict[str, Any]:
    """The median of every score and metric."""
    return {
        kind: {name: statistics.median(run[kind][name] for run in runs) for name in runs[0][kind]}
        for kind in ("scores", "metrics")
    }


def write(figures: dict[str, Any]) -> None:
    """docs/lighthouse.json and docs/lighthouse.md."""
    (ROOT / "docs" / "lighthouse.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    heads = [name.replace("-", " ") for name in CATEGORIES] + list(METRICS.values())
    rows = ""
    for name, page in figures["pages"].items():
        cells = [f"{value:g}" for value in page["median"]["scores"].values()]
        cells += [
            f"{value:,.0f}" if value >= 1 or not value else f"{value:.3f}"
            for value in page["median"]["metrics"].values()
        ]
        rows += f"| {name} | {' | '.join(cells)} |\n"
    (ROOT / "docs" / "lighthouse.md").write_text(
        f"""# Lighthouse

`make lighthouse`, {figures["date"]}, {figures["machine"]}, Lighthouse {figures["lighthouse"]}: its mobile preset (a
phone's screen, a processor four times slower, 1.6 Mbit/s with 150 ms, simulated), the median of {figures["runs"]} runs.
The demo customer is signed in; the site runs as in production (DEBUG off, hashed and compressed static files), without
the proxy's TLS. Every run with what it found: [lighthouse.json](lighthouse.json).

| page | {" | ".join(heads)} |
|---|{"---:|" * len(heads)}
{rows}"""
    )


def main(runs: int) -> int:
    """Measure, write, and say whether every page has what it should: 0 if so."""
    program = lighthouse()
    version = subprocess.run([program, "--version"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    pages: dict[str, Any] = {}
    with served() as (site, cookie, bill), tempfile.TemporaryDirectory() as place:
        headers = Path(place) / "headers.json"
        headers.write_text(json.dumps(PROXY | {"Cookie": cookie}))
        for name, path in {"overview": "/", "buy": "/buy/", "bill": f"/bills/{bill}/"}.items():
            found = [measure(program, site + path, headers) for _ in range(runs)]
            pages[name] = {"median": median(found), "runs": found}
            print(name, pages[name]["median"], flush=True)  # noqa: T201
    write(
        {
            "date": f"{datetime.now(SHANGHAI):%Y-%m-%d}",
            "machine": f"{os.cpu_count()} cores, {processor()}",
            "lighthouse": version,
            "runs": runs,
            "pages": pages,
        }
    )
    below = [
        f"{name}: {kind} {score:g}"
        for name, page in pages.items()
        for kind, score in page["median"]["scores"].items()
        if score < LEAST
    ]
    print(f"below {LEAST}: {', '.join(below)}" if below else f"every score is {LEAST} or more")  # noqa: T201
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
