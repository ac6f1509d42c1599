"""The built documentation: links and images by their files, the rest in a headless Chromium. `make doc` runs this."""

import os
import shutil
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest

if not os.environ.get("SKDGM_SITE"):
    pytest.skip("SKDGM_SITE is not set: `make doc` builds the site and tests it", allow_module_level=True)

SITE = Path(os.environ["SKDGM_SITE"]).resolve()
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)
# elements of the text that begin or end beyond the screen, other than within something that scrolls by itself
CUT_OFF = """() => {
  const scrollsItself = (e) => ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
  const scrolls = (e) => e.tagName !== "ARTICLE" && (scrollsItself(e) || scrolls(e.parentElement));
  const isCut = (e) => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e.parentElement);
  return [...document.querySelectorAll("article *")].filter(isCut).slice(0, 3).map((e) => e.outerHTML.slice(0, 80));
}"""
EMPTY_IMAGES = "[...document.images].filter((image) => image.complete && !image.naturalWidth).map((image) => image.src)"
NARROW = {"width": 390, "height": 844}


class Targets(HTMLParser):
    """What a page links to or shows, and the anchors that it has."""

    def __init__(self, page):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed((SITE / page).read_text("utf8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs.get("id"), attrs.get("name")}
        self.links += [attrs[key] for key in ("href", "src") if attrs.get(key) and tag != "base"]


def parsed():
    return {page: Targets(page) for page in PAGES}


def test_no_internal_link_or_image_is_broken():
    pages = parsed()
    broken = []
    for page, targets in pages.items():
        for link in targets.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = (SITE / page).parent / unquote(parts.path) if parts.path else SITE / page
            target = os.path.relpath(path, SITE)
            anchor = unquote(parts.fragment)
            if not path.exists() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{page}: {link}")
    assert not broken, "\n".join(broken)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_pages_fit_a_phone_load_all_images_and_need_no_network(browser, address):
    page = browser.new_page(viewport=NARROW)
    complaints = []
    page.on("console", lambda message: message.type == "error" and complaints.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on("request", lambda sent: sent.url.startswith((address, "data:")) or complaints.append(f"asks {sent.url}"))
    for name in PAGES:
        page.goto(address + name)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            complaints.append(f"{name} scrolls sideways")
        complaints += [f"{name} cuts off {element}" for element in page.evaluate(CUT_OFF)]
        complaints += [f"{name}: {source} is no image" for source in page.evaluate(EMPTY_IMAGES)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("name", ["M2Classifier", "DeepImputer", "LabeledStratifiedKFold"])
def test_search_finds_the_page_of_a_name_first(browser, address, name):
    page = browser.new_page()
    page.goto(f"{address}search.html?q={name}")
    first = page.locator("#search-results ul.search li a").first
    first.wait_for()
    assert f"{name}.html" in first.get_attribute("href")


def test_a_click_sorts_a_table_of_results(browser, address):
    page = browser.new_page()
    page.goto(address + "benchmarks_few_labels.html")
    head = page.locator("table.sortable").first.locator("th button").nth(1)
    cells = page.locator("table.sortable").first.locator("tbody tr td:nth-child(2)")
    for sign in (1, -1):
        head.click()
        ranks = [float(text) for text in cells.all_text_contents() if text.strip()]
        assert ranks == sorted(ranks, key=lambda rank: sign * rank)
