"""The page in Chromium, as somebody who gets it sees it."""

import functools
import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from batchrun.queue.clips import ClipView
from batchrun.queue.states import JobState
from tests.cli.test_main import run
from tests.conftest import Shop, emulated, make_picture, run_shop
from tests.report.browser import chromium, needs_browser, prefer
from tests.report.shelf import clip, page_of
from tests.report.test_page import NASTY

pytestmark = needs_browser


@pytest.fixture(scope="module")
def driver() -> Iterator[WebDriver]:
    with chromium() as found:
        yield found


@pytest.fixture(autouse=True)
def fresh(driver: WebDriver) -> Iterator[None]:
    """No test sees another's logs or choices; every page must leave the console empty."""
    prefer(driver, "light")
    driver.get_log("performance")
    driver.get_log("browser")
    yield
    assert console(driver) == []
    driver.execute_script("try { localStorage.clear(); } catch { /* about:blank */ }")


def console(driver: WebDriver) -> list[str]:
    """What was said since the last look, but for the pictures that the clips of the shelf do not have."""
    messages = [entry["message"] for entry in driver.get_log("browser")]
    return [message for message in messages if "net::ERR_FILE_NOT_FOUND" not in message]


def opened(driver: WebDriver, page: Path | str) -> None:
    driver.get(page if isinstance(page, str) else page.as_uri())
    WebDriverWait(driver, 40).until(lambda _: driver.find_elements(By.CSS_SELECTOR, ".card, #empty:not([hidden])"))


def ids(driver: WebDriver) -> list[str]:
    return list(
        driver.execute_script("return [...document.querySelectorAll('.card .id')].map((one) => one.textContent)")
    )


def requests(driver: WebDriver) -> list[str]:
    """What the page has asked for since the last look, without what is in the page itself."""
    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return [url for url in found if not url.startswith(("data:", "blob:", "chrome:"))]


def plays(driver: WebDriver, video: WebElement) -> bool:
    """Whether it shows new moments: waits for the next one."""
    return bool(
        driver.execute_async_script(
            "const [video, done] = arguments, seen = video.currentTime;"
            "video.addEventListener('timeupdate', () => { if (video.currentTime !== seen) done(true); });"
            "video.addEventListener('error', () => done(false)); if (video.error) done(false);",
            video,
        )
    )


def background(driver: WebDriver) -> str:
    return str(driver.execute_script("return getComputedStyle(document.body).backgroundColor"))


async def bought(shop: Shop, *, posters: bool = False) -> Path:
    """A real shop with three clips and its page."""
    shop.add_many(3)
    async with emulated() as emulator:
        await run_shop(shop, emulator)
    if not posters:
        shutil.rmtree(shop.queue_path.parent / "posters")
    assert run("report", str(shop.manifest), "-o", str(shop.folder)).returncode == 0
    return shop.folder / "report.html"


@pytest.fixture
async def real_page(shop: Shop) -> Path:
    return await bought(shop)


def some(folder: Path) -> list[ClipView]:
    make_picture(folder / "mug.png")
    return [
        clip(folder, "mug", prompt="Steam rises", tags=("kitchen",), state=JobState.QUEUED, position=1),
        clip(folder, "lamp", prompt="It glows", tags=("light", "kitchen"), state=JobState.QUEUED, position=2),
        clip(
            folder, "vase", prompt="It turns", state=JobState.FAILED, kind="moderation", message="not nice", position=3
        ),
        clip(folder, "bowl", prompt="It falls", state=JobState.QUEUED, current=False, position=4),
    ]


# ---------------------------------------------------------------------- where it lies


def test_from_a_file_offline_and_moved(driver: WebDriver, real_page: Path, tmp_path: Path) -> None:
    moved = tmp_path / "a folder of #100% ünïcode?"
    real_page.parent.rename(moved)
    driver.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
    )
    try:
        opened(driver, moved / "report.html")
        assert ids(driver) == ["job-00", "job-01", "job-02"]
        video = WebDriverWait(driver, 40).until(lambda _: driver.find_element(By.CSS_SELECTOR, ".card video"))
        WebDriverWait(driver, 40).until(lambda _: driver.execute_script("return arguments[0].readyState > 0", video))
        assert {urlsplit(url).scheme for url in requests(driver)} == {"file"}
    finally:
        driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
        )


class _Server(http.server.ThreadingHTTPServer):
    """Serves a folder, and keeps what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=folder))

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        self.server.asked.append(self.path)  # type: ignore[attr-defined]  # our own server


@contextmanager
def served(folder: Path) -> Iterator[_Server]:
    with _Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_from_a_web_server_a_clip_plays_while_it_is_pointed_at(driver: WebDriver, real_page: Path) -> None:
    with served(real_page.parent) as server:
        opened(driver, f"{server.origin}/report.html")
        card = driver.find_element(By.CSS_SELECTOR, ".card")
        ActionChains(driver).move_to_element(card).perform()
        video = card.find_element(By.TAG_NAME, "video")
        assert plays(driver, video)
        ActionChains(driver).move_to_element(driver.find_element(By.ID, "title")).perform()
        WebDriverWait(driver, 40).until(lambda _: driver.execute_script("return arguments[0].paused", video))
        assert {urlsplit(url).netloc for url in requests(driver)} == {urlsplit(server.origin).netloc}
        assert set(server.asked) == {"/report.html", *(f"/videos/shop/job-0{number}.mp4" for number in range(3))}
        driver.get("about:blank")


def test_the_detail_shows_picture_and_clip_side_by_side(driver: WebDriver, real_page: Path) -> None:
    opened(driver, real_page)
    driver.find_element(By.CSS_SELECTOR, ".card .open").click()
    image, video = (driver.find_element(By.CSS_SELECTOR, f"#detail .frame {name}") for name in ("img", "video"))
    assert plays(driver, video)
    WebDriverWait(driver, 40).until(lambda _: driver.execute_script("return arguments[0].naturalWidth > 0", image))
    assert image.rect["y"] == video.rect["y"]
    assert image.rect["x"] + image.rect["width"] <= video.rect["x"]
    text = driver.find_element(By.ID, "detail").text
    assert all(word in text for word in ("job-00", "It turns", "$0.25", "24 fps", "kwaivgi/kling-v1.6-i2v-standard"))


async def test_a_clip_that_is_not_there_is_said(driver: WebDriver, tmp_path: Path) -> None:
    strange = tmp_path / "x" / os.fsdecode(b"caf\xe9 #1.mp4")
    opened(driver, await page_of(tmp_path / "x", [clip(tmp_path / "x", "mug", output=strange)]))
    WebDriverWait(driver, 40).until(lambda _: "The clip is not here" in driver.find_element(By.CLASS_NAME, "card").text)
    driver.find_element(By.CSS_SELECTOR, ".card .open").click()
    assert "caf%E9%20%231.mp4" in driver.find_element(By.ID, "detail").text


async def test_a_poster_is_shown_and_the_video_comes_only_when_wanted(driver: WebDriver, shop: Shop) -> None:
    page = await bought(shop)
    folder = shop.output("x").parent
    poster = make_picture(folder / "still.png")
    page = await page_of(folder, [clip(folder, "job-00", poster=poster)])
    opened(driver, page)
    card = driver.find_element(By.CLASS_NAME, "card")
    assert card.find_element(By.TAG_NAME, "img").get_attribute("src") == poster.as_uri()
    assert card.find_elements(By.TAG_NAME, "video") == []
    driver.find_element(By.CSS_SELECTOR, ".card .open").send_keys("")  # the keyboard's focus does as the mouse
    video = WebDriverWait(driver, 40).until(lambda _: card.find_element(By.TAG_NAME, "video"))
    assert plays(driver, video)
    driver.find_element(By.ID, "search").click()
    WebDriverWait(driver, 40).until(lambda _: card.find_elements(By.TAG_NAME, "video") == [])


async def test_the_posters_that_a_run_makes_are_shown(driver: WebDriver, shop: Shop) -> None:
    opened(driver, await bought(shop, posters=True))
    stills = driver.find_elements(By.CSS_SELECTOR, ".card img")
    assert len(stills) == 3
    wide = "return [...document.querySelectorAll('.card img')].every((one) => one.naturalWidth > 0)"
    WebDriverWait(driver, 40).until(lambda _: driver.execute_script(wide))


async def test_a_poster_that_is_gone_gives_way_to_the_first_frame(driver: WebDriver, shop: Shop) -> None:
    await bought(shop)
    folder = shop.output("x").parent
    opened(driver, await page_of(folder, [clip(folder, "job-00", poster=folder / "gone.webp")]))
    card = driver.find_element(By.CLASS_NAME, "card")
    WebDriverWait(driver, 40).until(lambda _: card.find_elements(By.TAG_NAME, "video"))
    assert card.find_elements(By.TAG_NAME, "img") == []


# ---------------------------------------------------------------------- finding


async def test_search_and_filters(driver: WebDriver, tmp_path: Path) -> None:
    opened(driver, await page_of(tmp_path, some(tmp_path)))
    assert ids(driver) == ["mug", "lamp", "vase", "bowl"]
    driver.find_element(By.ID, "search").send_keys("IT  turns")
    WebDriverWait(driver, 40).until(lambda _: ids(driver) == ["vase"])
    assert driver.find_element(By.ID, "count").text == "1 of 4 clips, $0.00"
    driver.find_element(By.ID, "search").send_keys(" nowhere")
    WebDriverWait(driver, 40).until(lambda _: driver.find_element(By.ID, "empty").is_displayed())
    driver.find_element(By.ID, "clear").click()
    assert ids(driver) == ["mug", "lamp", "vase", "bowl"]
    driver.find_element(By.CSS_SELECTOR, "#states button[value=queued]").click()
    assert ids(driver) == ["mug", "lamp", "bowl"]
    driver.find_element(By.CSS_SELECTOR, "#tag option[value=kitchen]").click()
    assert ids(driver) == ["mug", "lamp"]
    driver.find_element(By.CSS_SELECTOR, "#tag option[value='']").click()
    driver.find_element(By.CSS_SELECTOR, "#warning option[value='*']").click()
    assert ids(driver) == ["bowl"]
    driver.find_element(By.CSS_SELECTOR, "#warning option[value='']").click()
    driver.find_element(By.CSS_SELECTOR, "#sort option[value=id]").click()
    assert ids(driver) == ["bowl", "lamp", "mug"]


async def test_what_failed_is_told_with_what_to_do(driver: WebDriver, tmp_path: Path) -> None:
    opened(driver, await page_of(tmp_path, some(tmp_path)))
    driver.find_element(By.ID, "tab-figures").click()
    failure = driver.find_element(By.CLASS_NAME, "failure")
    assert "Change the prompt or the picture and run again." in failure.text
    failure.find_element(By.TAG_NAME, "button").click()
    assert ids(driver) == ["vase"]
    driver.find_element(By.CSS_SELECTOR, ".card .open").click()
    text = driver.find_element(By.ID, "detail").text
    assert "not nice" in text
    assert "Change the prompt or the picture and run again." in text


async def test_five_thousand_cards(driver: WebDriver, tmp_path: Path) -> None:
    clips = [
        clip(tmp_path, f"item-{n:04}", prompt=f"Number {n} turns", position=n, state=JobState.QUEUED)
        for n in range(5000)
    ]
    opened(driver, await page_of(tmp_path, clips))
    nodes = "return document.querySelectorAll('*').length"
    at_first = driver.execute_script(nodes)
    assert at_first < 1000
    driver.execute_script("scrollTo(0, document.body.scrollHeight)")
    WebDriverWait(driver, 40).until(lambda _: ids(driver)[-1:] == ["item-4999"])
    driver.execute_script("scrollTo(0, document.body.scrollHeight / 2)")
    WebDriverWait(driver, 40).until(
        lambda _: "item-4999" not in ids(driver) and any("item-24" in one for one in ids(driver))
    )
    assert driver.execute_script(nodes) < 2 * at_first
    driver.find_element(By.ID, "search").send_keys("4321")
    WebDriverWait(driver, 40).until(lambda _: ids(driver) == ["item-4321"])
    driver.find_element(By.ID, "search").send_keys(Keys.ESCAPE)
    driver.find_element(By.CSS_SELECTOR, ".card .open").send_keys(Keys.END)
    WebDriverWait(driver, 40).until(
        lambda _: driver.switch_to.active_element.get_attribute("aria-label") == "item-4999, queued"
    )


# ---------------------------------------------------------------------- what it must not do


async def test_texts_stay_texts(driver: WebDriver, tmp_path: Path) -> None:
    make_picture(tmp_path / "plain.png")
    texts = [text for text in NASTY if text.isprintable() or "\u2028" in text]
    plain = clip(tmp_path, "plain", state=JobState.FAILED)
    clips = [
        clip(tmp_path, f"n{n}", prompt=text, state=JobState.QUEUED, tags=(text,), kind=text, message=text,
             facts={"warnings": [text]}, revision=_with_prompt(plain, text), position=n)
        for n, text in enumerate(texts)
    ]  # fmt: skip
    opened(driver, await page_of(tmp_path, clips, title="<img src=x onerror='window.hacked=1'>"))
    assert [
        one.get_attribute("textContent") for one in driver.find_elements(By.CSS_SELECTOR, ".card .tags .tag:last-child")
    ] == texts
    for at in range(len(texts)):
        driver.execute_script("document.querySelectorAll('.card .open')[arguments[0]].click()", at)
        assert (
            driver.execute_script("return [...document.querySelectorAll('#detail .block p')].at(-2).textContent")
            == texts[at]
        )
        driver.execute_script("document.getElementById('detail').close()")
    driver.find_element(By.ID, "tab-figures").click()
    assert driver.execute_script("return window.hacked") is None
    assert len(driver.find_elements(By.TAG_NAME, "script")) == 2
    assert driver.find_elements(By.CSS_SELECTOR, "img[src=x]") == []


def _with_prompt(one: ClipView, text: str) -> object:
    return replace(one.revision, prompt=text)


async def test_the_policy_stops_what_was_not_written_by_us(driver: WebDriver, tmp_path: Path) -> None:
    page = await page_of(tmp_path, [])
    with served(tmp_path) as server:
        strange = f"<script>window.hacked = 1</script><img src='{server.origin}/x.png'>"
        page.write_text(page.read_text("utf-8").replace("<main>", f"<main>{strange}"))
        opened(driver, page)
        messages: list[str] = []
        WebDriverWait(driver, 40).until(lambda _: messages.extend(console(driver)) or len(messages) == 2)
        assert all("violates the following Content Security Policy" in message for message in messages)
        assert driver.execute_script("return window.hacked") is None
        assert server.asked == []


# ---------------------------------------------------------------------- light, dark, keys


async def test_light_and_dark(driver: WebDriver, tmp_path: Path) -> None:
    page = await page_of(tmp_path, some(tmp_path))
    opened(driver, page)
    light = background(driver)
    prefer(driver, "dark")
    WebDriverWait(driver, 40).until(lambda _: background(driver) != light)
    dark = background(driver)
    switch = driver.find_element(By.ID, "theme")
    WebDriverWait(driver, 40).until(lambda _: "Light" in switch.text)
    switch.click()
    assert (background(driver), "Dark" in switch.text) == (light, True)
    opened(driver, page)
    assert background(driver) == light  # a person's choice stays
    driver.find_element(By.TAG_NAME, "body").send_keys("t")
    assert background(driver) == dark


async def test_the_keyboard_is_enough(driver: WebDriver, tmp_path: Path) -> None:
    opened(driver, await page_of(tmp_path, some(tmp_path)))

    def press(*keys: str) -> None:
        ActionChains(driver).send_keys(*keys).perform()

    def focused() -> str | None:
        return driver.switch_to.active_element.get_attribute("aria-label")

    press("/")
    assert driver.switch_to.active_element.get_attribute("id") == "search"
    press(Keys.ARROW_DOWN)
    assert focused() == "mug, queued"
    press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert focused() == "vase, failed"
    press(Keys.ENTER)
    title = driver.find_element(By.ID, "detail-title")
    assert title.text.split() == ["vase", "failed"]
    press(Keys.ARROW_RIGHT)
    assert driver.find_element(By.ID, "detail-title").text.split() == ["bowl", "queued"]
    press(Keys.ESCAPE)
    WebDriverWait(driver, 40).until(lambda _: focused() == "bowl, queued")
    press(Keys.HOME)
    assert focused() == "mug, queued"
