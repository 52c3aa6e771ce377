"""The report: one page that needs nothing but a browser, and believes nothing that a dataset says."""

import csv
import io
import json
import re
import shutil
import sys
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
from PIL import Image

import curate
from curate.decisions import read_decisions
from curate.errors import InputError, OptionError, OtherDatasetError, UsageError
from curate.stages import reporting
from curate.stages.report.cells import Cells, clipped, thumbnail
from curate.stages.report.context import Section
from curate.stages.report.drawing import nice_step, stacked_histogram, ticks
from curate.stages.reporting import report

HOSTILE = [
    "</script><script>window.broken = 1</script>",
    '<img src=x onerror="window.broken = 2">',
    "<!-- <script>",
    "\u202etxt.exe\u202c and \x00 and \u2028 lines",
    "{{ 7 * 7 }} {% raw %}",
    "x" * 200_000,
    "&lt;b&gt;bold&lt;/b&gt;",
    "  ",
]
NAMES = ["<b>one</b>", 'two, "quoted"']


def png(value):
    sink = io.BytesIO()
    Image.new("L", (12, 12), value).save(sink, "PNG")
    return {"bytes": sink.getvalue(), "path": None}


@pytest.fixture(scope="module")
def hostile():
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=NAMES)})
    texts = [HOSTILE[i % len(HOSTILE)] + (f" {i}" if i % len(HOSTILE) != 7 else "") for i in range(48)]
    return curate.load(datasets.Dataset.from_dict({"text": texts, "label": [i % 2 for i in range(48)]}, features=features))


@pytest.fixture(scope="module")
def stores(hostile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    scores = curate.score(hostile, ["aum", "datamap", "el2n", "random"], out=folder / "s", epochs=4, max_failures=0.5)
    selection = curate.select(hostile, scores, sampler="top", by="aum", budget=12, out=folder / "sub", command="curate select <x> & more")
    curate.compare(hostile, [selection], out=folder / "c", seeds=2, steps=2, scores=scores)
    return folder


@pytest.fixture(scope="module")
def page(hostile, stores):
    return report(stores / "s", stores / "page.html", data=hostile, selection=stores / "sub", comparison=stores / "c")


def data_of(page):
    """What the page's script reads."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)[1])


def test_a_policy_tried_at_several_sizes_is_a_curve_with_its_baseline_beside(hostile, stores, tmp_path):
    scores = curate.Scores.open(stores / "s")
    chosen = {f"a{k}": curate.select(hostile, scores, sampler="top", by="aum", budget=k) for k in (12, 24)}
    made = curate.compare(hostile, chosen, out=tmp_path / "c", seeds=2, steps=4, scores=scores)

    text = report(made.path, tmp_path / "page.html").read_text(encoding="utf-8")

    curve = re.search(r'<svg[^>]*class="curve".*?</svg>', text, flags=re.DOTALL)[0]
    assert re.findall(r'<g class="line-(\w+)">', curve) == ["random", "class_random", "0"]
    assert len(re.findall(r"<title>top by aum", curve)) == 2
    assert '<th scope="col">to target</th>' in text and "To target: seconds until" in text


def test_a_page_has_every_section_and_stands_alone(page):
    text = page.read_text(encoding="utf-8")

    sections = re.findall(r'<section id="(\w+)"', text)
    assert sections == ["summary", "suspects", "datamap", "comparison", "selection", "galleries", "histograms", "overlap"]
    assert page.stat().st_size < 10 << 20
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text)
    assert "http" not in re.sub(r'http-equiv|"http://www.w3.org/2000/svg"', "", text.partition('id="data">')[0])


def test_what_a_dataset_says_is_data_and_never_markup(page):
    text = page.read_text(encoding="utf-8")

    assert text.count("<script") == 2 and text.count("</script>") == 2
    assert "<b>one" not in text and "onerror" not in text.partition('id="data">')[0]
    assert "&lt;b&gt;one&lt;/b&gt;" in text
    assert "curate select &lt;x&gt; &amp; more" in text


def test_texts_are_cut_and_shown_as_they_are(page):
    rows = data_of(page)["shared"]["rows"]

    assert rows["0"]["text"] == "</script><script>window.broken = 1</script> 0"
    assert rows["3"]["text"] == "txt.exe and ␀ and lines 3"
    assert len(rows["5"]["text"]) == 400 and rows["5"]["text"].endswith("…")


def test_suspects_are_those_of_the_lowest_margins_with_the_label_that_the_model_would_give(page, hostile, stores):
    suspects = data_of(page)["suspects"]
    scores = curate.Scores.open(stores / "s")
    known = np.flatnonzero(~np.isnan(scores["aum"]))

    rank = sum(np.argsort(np.argsort(sign * scores[name][known])) for name, sign in (("aum", -1), ("datamap", -1), ("el2n", 1)))
    assert set(suspects["rows"][:5]) <= set(known[np.argsort(-rank)[:8]].tolist())
    assert suspects["given"] == hostile.labels[suspects["rows"]].tolist()
    assert suspects["suggested"] == [1 - given for given in suspects["given"]]


def test_galleries_hold_both_ends(page, stores):
    aum = curate.Scores.open(stores / "s")["aum"]

    ends = data_of(page)["galleries"]["aum"]

    assert ends["low"]["score"][0] == pytest.approx(np.nanmin(aum), rel=1e-3)
    assert ends["high"]["rows"][0] == int(np.nanargmax(aum))


def test_without_the_source_there_are_row_numbers_and_a_word_about_it(stores):
    page = report(stores / "s", stores / "bare.html")

    assert "name their source with --data" in page.read_text(encoding="utf-8")
    assert all("text" not in cell for cell in data_of(page)["shared"]["rows"].values())
    assert "suspects" not in data_of(page)


def a_section_of_ones_own(context):
    return Section("Of one's own", "own.html", {"word": NAMES[0]}, {"odd": context.cells.show([1, 3])})


@pytest.fixture
def page_with_a_section_of_ones_own(stores, hostile, tmp_path, monkeypatch):
    shutil.copytree(reporting.TEMPLATES, tmp_path / "templates")
    (tmp_path / "templates" / "own.html").write_text('<p>{{ word }}</p><div class="gallery" data-rows="own.odd"></div>')
    monkeypatch.setattr(reporting, "TEMPLATES", tmp_path / "templates")
    monkeypatch.setitem(reporting.SECTIONS, "own", f"{__name__}:a_section_of_ones_own")
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(a_section_of_ones_own=a_section_of_ones_own))
    return report(stores / "s", tmp_path / "page.html", data=hostile)


def test_a_section_is_a_function_a_template_and_a_line_in_the_menu(page_with_a_section_of_ones_own):
    text = page_with_a_section_of_ones_own.read_text(encoding="utf-8")

    assert "<p>&lt;b&gt;one&lt;/b&gt;</p>" in text
    assert data_of(page_with_a_section_of_ones_own)["own"] == {"odd": [1, 3]}


@pytest.mark.parametrize("name", ["sub", "c"])
def test_a_selection_or_a_comparison_alone_makes_a_page(stores, name):
    page = report(stores / name, stores / f"{name}.html")

    assert "In short" in page.read_text(encoding="utf-8")


def test_a_training_that_came_to_nothing_is_told_of(hostile, tmp_path):
    unlucky = "def train(dataset, seed):\n    if len(dataset) < 20 and seed == 1:\n        raise ValueError('<no luck>')\n"
    (tmp_path / "mine.py").write_text(f"{unlucky}    return {{'accuracy': 0.5}}\n")
    chosen = curate.select(hostile, sampler="random", budget=10)
    curate.compare(hostile, {"mine": chosen}, out=tmp_path / "c", seeds=2, train=f"{tmp_path / 'mine.py'}:train")

    text = report(tmp_path / "c", tmp_path / "page.html").read_text(encoding="utf-8")

    assert "mine with seed 1 came to nothing: ValueError: &lt;no luck&gt;" in text


def test_images_broken_ones_too_are_on_the_page(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    cells = [png(value) for value in range(0, 240, 10)]
    cells[3] = {"bytes": b"not an image", "path": None}
    data = curate.load(datasets.Dataset.from_dict({"image": cells, "label": [i % 2 for i in range(24)]}, features=features))
    curate.select(data, sampler="random", budget=24, out=tmp_path / "sub")

    rows = data_of(report(tmp_path / "sub", tmp_path / "page.html", data=data))["shared"]["rows"]

    assert rows["3"]["text"] == "(no image)"
    assert rows["0"]["image"].startswith("data:image/png;base64,")


def test_the_page_stays_small_however_much_there_is_to_show():
    rng = np.random.default_rng(0)
    texts = ["".join(chr(97 + c) for c in rng.integers(0, 26, 380)) for _ in range(40)]
    cells = Cells(curate.load(datasets.Dataset.from_dict({"text": texts})))

    cells.show(range(40), most_bytes=5_000)

    shown = [row for row, cell in cells.as_json().items() if "text" in cell]
    assert len(shown) == 13 and cells.used <= 5_000
    assert len(cells.as_json()) == 40


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("side", [8, 300])
def test_a_picture_of_any_kind_has_a_small_one(mode, side):
    shown = thumbnail(Image.new(mode, (side, side)))

    assert shown.startswith("data:image/") and len(shown) < 20_000


def test_control_characters_are_made_visible():
    assert clipped("a\x00b\nc\td") == "a␀b c d"
    assert clipped(None) == "(missing)"


def test_a_histogram_counts_every_row():
    bars, marks = stacked_histogram(np.array([0.0, 0.0, 0.0, 1.0]), np.array([0, 0, 1, 1]), ["a", "b"], bins=2)

    assert [(bar.x, round(bar.height, 1), bar.shade) for bar in bars] == [(0, 66.7, 0), (0, 33.3, 1), (50, 33.3, 1)]
    assert marks[0].text == "0"
    assert sum(bar.height for bar in stacked_histogram(np.full(9, 3.0), None, ())[0]) == 100


def test_ticks_are_round():
    assert [tick.text for tick in ticks(-0.13, 1.02)] == ["0", "0.5", "1"]
    assert nice_step(0.03) == pytest.approx(0.05)


def test_parts_of_different_datasets_are_refused(stores, hostile, tmp_path):
    other = hostile.select(np.arange(20))
    curate.score(other, ["random"], out=tmp_path / "s")

    with pytest.raises(InputError, match="different datasets"):
        report(tmp_path / "s", tmp_path / "page.html", selection=stores / "sub")
    with pytest.raises(OtherDatasetError):
        report(stores / "s", tmp_path / "page.html", data=other)


def test_what_makes_no_page_is_refused(stores, tmp_path):
    with pytest.raises(OptionError, match=r"must end in \.html"):
        report(stores / "s", tmp_path / "page.pdf")
    with pytest.raises(UsageError, match="second one"):
        report(stores / "s", tmp_path / "page.html", scores=stores / "s")
    with pytest.raises(InputError, match="is not a store"):
        report(tmp_path / "none", tmp_path / "page.html")
    with pytest.raises(UsageError, match=r"is a file.*curate report STORE --data"):
        report(stores / "s" / "manifest.json", tmp_path / "page.html")
    with pytest.raises(InputError, match="holds a run"):
        report(next((stores / "s" / "runs").iterdir()), tmp_path / "page.html")


needs_browser = pytest.mark.skipif(
    shutil.which("chromedriver") is None or shutil.which("chromium") is None, reason="no chromium and chromedriver here"
)
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update
--disable-sync"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in [*FLAGS.split(), "--window-size=1200,900", f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    yield made
    made.quit()


@pytest.fixture
def opened(browser, page):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(page.as_uri())
    return browser


@needs_browser
def test_the_browser_says_no_error_and_asks_the_network_for_nothing(opened):
    messages = [json.loads(line["message"])["message"] for line in opened.get_log("performance")]

    requested = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert {url for url in requested if not url.startswith(("file:", "data:"))} == set()
    assert opened.get_log("browser") == []
    assert opened.execute_script("return window.broken") is None
    assert len(opened.find_elements("css selector", "[data-suspects] figure")) == 42  # six of 48 texts are empty


@needs_browser
def test_a_section_shows_rows_without_a_script_of_its_own(browser, page_with_a_section_of_ones_own):
    browser.get(page_with_a_section_of_ones_own.as_uri())

    shown = browser.find_elements("css selector", '[data-rows="own.odd"] figure')
    assert [figure.get_attribute("data-row") for figure in shown] == ["1", "3"]


@needs_browser
def test_hovering_over_the_map_shows_the_row(opened):
    from selenium.webdriver import ActionChains

    points = data_of_page(opened)["datamap"]
    canvas = opened.find_element("id", "map")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    width, height = canvas.size["width"], canvas.size["height"]
    widest = max(0.05, *(1.04 * x for x in points["x"]))
    x = (56 + points["x"][0] / widest * (900 - 72)) / 900 * width
    y = (14 + (1 - points["y"][0]) * (520 - 58)) / 520 * height

    ActionChains(opened).move_to_element_with_offset(canvas, round(x - width / 2), round(y - height / 2)).perform()

    tip = opened.find_element("id", "tip")
    assert tip.is_displayed()
    assert re.search(r"row \d+ · (<b>one</b>|two, \"quoted\") · confidence 0\.\d\d", tip.text)


@needs_browser
def test_a_frame_on_the_map_lists_the_rows_in_it(opened):
    from selenium.webdriver import ActionChains

    canvas = opened.find_element("id", "map")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    width, height = canvas.size["width"], canvas.size["height"]

    actions = ActionChains(opened).move_to_element_with_offset(canvas, -width // 2 + 50, -height // 2 + 5).click_and_hold()
    actions.move_by_offset(width - 60, height - 30).release().perform()

    listed = opened.find_elements("css selector", "#map-gallery figure")
    assert len(listed) == min(48, len(data_of_page(opened)["datamap"]["rows"]))
    assert opened.find_element("id", "map-count").text.startswith("42 rows")
    opened.find_element("id", "map-clear").click()
    assert opened.find_elements("css selector", "#map-gallery figure") == []


@needs_browser
def test_the_map_is_walked_and_listed_by_keyboard(opened):
    from selenium.webdriver import Keys

    canvas = opened.find_element("id", "map")
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert opened.find_element("id", "tip").is_displayed()
    canvas.send_keys(Keys.ENTER)
    assert opened.find_elements("css selector", "#map-gallery figure")
    canvas.send_keys(Keys.ESCAPE)
    assert not opened.find_element("id", "tip").is_displayed()


@needs_browser
def test_a_review_is_decided_on_exported_and_applied(opened, hostile, tmp_path):
    from selenium.webdriver.support.ui import Select, WebDriverWait

    opened.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    boxes = opened.find_elements("css selector", "[data-suspects] select")
    rows = data_of_page(opened)["suspects"]["rows"]
    Select(boxes[0]).select_by_visible_text("drop the row")
    Select(boxes[1]).select_by_index(3)  # the suggested label comes first
    Select(boxes[2]).select_by_visible_text("keep: the label is right")
    opened.find_element("id", "export-review").click()
    file = tmp_path / "review.csv"
    WebDriverWait(opened, 20).until(lambda _: file.is_file() and file.stat().st_size)  # it is there before it is full

    decisions = read_decisions(file, hostile)

    assert decisions.dropped == {rows[0]}
    assert decisions.fixed == {rows[1]: NAMES[1 - hostile.labels[rows[1]]]}
    assert decisions.kept == 1
    assert {line["row"] for line in csv.DictReader(file.open(encoding="utf-8"))} == {str(row) for row in rows[:3]}


@needs_browser
def test_light_and_dark_change_and_a_phone_needs_no_sideways_scrolling(opened):
    colours = []
    for _ in range(2):
        colours.append(opened.execute_script("return getComputedStyle(document.body).backgroundColor"))
        opened.find_element("id", "theme").click()
    assert colours[0] != colours[1]

    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True})
    assert opened.execute_script("return document.documentElement.scrollWidth") <= 390


def data_of_page(browser):
    return json.loads(browser.execute_script("return document.getElementById('data').textContent"))
