"""What axe-core finds on a page: the rules of WCAG 2.2 AA, run in the browser that shows it."""

from pathlib import Path

from playwright.sync_api import BrowserContext, Page

AXE = (Path(__file__).parent / "vendor" / "axe" / "axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"]
RUN = """async (tags) => {
  const found = await axe.run(document, {runOnly: {type: "tag", values: tags}, resultTypes: ["violations"]});
  return found.violations.map((v) => `${v.id} (${v.impact}): ${v.help}\\n` + v.nodes.map((n) =>
    `    ${n.target.join(" ")}  ${n.html.slice(0, 160)}\\n      ` +
    n.failureSummary.replaceAll("\\n", " ")).join("\\n"));
}"""


def with_axe(context: BrowserContext) -> None:
    """Have axe on every page that a context will open: a browser that is told once is told for all."""
    context.add_init_script(AXE)


def assert_accessible(page: Page) -> None:
    """Axe finds nothing on the page as it stands, whatever its size, theme and language.

    It is evaluated, not loaded by a tag: the page's own content security policy stays as strict as it is served.
    """
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(f"(() => {{ {AXE} }})()")
    found = page.evaluate(RUN, TAGS)
    assert not found, f"{page.url}\n" + "\n".join(found)
