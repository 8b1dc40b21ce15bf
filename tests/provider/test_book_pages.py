"""The local server's books as somebody with a browser sees them."""

import asyncio
import re
from html.parser import HTMLParser

import aiohttp
import pytest
from selenium.webdriver.common.by import By

from batchrun.emulator.faults import Fault
from batchrun.emulator.pages import PAGE_SIZE
from batchrun.emulator.server import Emulator
from tests.conftest import Shop, emulated, run_shop
from tests.report.browser import chromium, needs_browser

NASTY = "<script>window.hacked=1</script> ' \" & <img src=x onerror=alert(1)> \ud83d"


class Seen(HTMLParser):
    """Names of elements, addresses, and the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.words += data


async def seen(emulator: Emulator, path: str, status: int = 200) -> Seen:
    async with aiohttp.ClientSession() as session, session.get(emulator.base_url + path) as response:
        assert (response.status, response.content_type) == (status, "text/html")
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        return Seen(await response.text())


def submit_many(emulator: Emulator, count: int, prompt: str = "Product") -> None:
    for number in range(count):
        emulator.world.submit({"prompt": f"{prompt} {number}", "image": f"{emulator.store.base_url}/x.png"})


async def test_a_runs_predictions_money_and_files_can_be_looked_at(shop: Shop) -> None:
    shop.add("a", prompt="A woman walks by").add("b")
    async with emulated() as emulator:
        await run_shop(shop, emulator)
        emulator.world.dice.chances = dict.fromkeys(Fault, 1.0)  # looking throws none of them
        first = await seen(emulator, "/")
        for words in ("2predictions", "2completed", "2uploads", "$999.50balance", "2 charges less 0 refunds"):
            assert words in first.words
        (link,) = {
            one for one in first.links if one.startswith("/predictions/") and one.endswith(_id_of(emulator, "walks"))
        }
        page = await seen(emulator, link)
        assert "people and hands do not move (woman, walks)" in page.words
        assert "deduct" in page.words
        (clip,) = {one for one in page.links if one.startswith("/clips/")}
        (picture,) = {one for one in page.links if one.startswith("/pictures/")}
        async with aiohttp.ClientSession(emulator.base_url) as session:
            async with session.get(clip, headers={"Range": "bytes=0-99"}) as response:
                assert (response.status, response.content_type, len(await response.read())) == (206, "video/mp4", 100)
            async with session.get(picture) as response:
                assert (response.status, response.content_type) == (200, "image/png")
                assert await response.read() == (shop.folder / "pics" / "a.png").read_bytes()
        assert picture in (await seen(emulator, "/uploads")).links
        assert (await seen(emulator, "/billing")).words.count("deduct") == 2
        assert emulator.world.dice.thrown == {}


def _id_of(emulator: Emulator, word: str) -> str:
    return next(one.task_id for one in emulator.world.tasks.values() if word in one.inputs["prompt"])


async def test_texts_from_requests_stay_texts() -> None:
    async with emulated() as emulator:
        submit_many(emulator, 1, NASTY)
        for path in ("/", f"/predictions/{next(iter(emulator.world.tasks))}", "/?q=%22%3E%3Cscript%3E"):
            page = await seen(emulator, path)
            assert not page.names & {"script", "img"}
        assert "<script>window.hacked=1</script>" in (await seen(emulator, "/")).words


async def test_ten_thousand_predictions_are_turned_page_by_page() -> None:
    async with emulated(balance_usd=10_000) as emulator:
        emulator.world.on_created = emulator.world.rendered
        submit_many(emulator, 10_000)
        ids: list[str] = []
        for number in (1, 2, 200):
            page = await seen(emulator, f"/?page={number}")
            ids += [link for link in page.links if link.startswith("/predictions/")]
            assert f"Page {number} of 200, 10,000 in all" in page.words
        assert len(ids) == len(set(ids)) == 3 * PAGE_SIZE
        found = await seen(emulator, "/?q=product+777&status=completed")
        assert "11 in all" in found.words
        assert "0 in all" in (await seen(emulator, "/?status=failed")).words
        assert "Page 200 of 200" in (await seen(emulator, "/billing?page=200")).words


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=abc", "page=99999999999999", "page=%C2%B2", "status=%00", "q=%F0"]
)
async def test_odd_questions_get_a_page(query: str) -> None:
    async with emulated() as emulator:
        submit_many(emulator, 2)
        for path in ("/", "/billing", "/uploads"):
            assert "in all" in (await seen(emulator, f"{path}?{query}")).words
        await seen(emulator, "/predictions/unknown", 404)


async def test_only_this_machines_pages_may_read_them_and_only_clips_and_pictures_are_given() -> None:
    async with emulated() as emulator, aiohttp.ClientSession(emulator.base_url) as session:
        (emulator.store.folder / "tasks.jsonl").write_text("secret")
        async with session.get("/", headers={"Host": "shop.example"}) as response:
            assert response.status == 403
        async with session.get("/", headers={"Host": "localhost:1"}) as response:
            assert response.status == 200
        for path in ("/clips/..%2Ftasks.jsonl", "/pictures/..%2f..%2fetc%2fpasswd", "/clips/none.mp4"):
            async with session.get(path) as response:
                assert response.status == 404


@needs_browser
async def test_in_a_browser_at_any_width_it_fits_and_asks_nobody_else(shop: Shop) -> None:
    shop.add("a", prompt="It turns, and " + "verylongword" * 30)
    async with emulated() as emulator:
        await run_shop(shop, emulator)

        def look() -> None:
            for width in (390, 1366):
                with chromium(width, 800) as driver:
                    for path in ("/", "/billing", "/uploads", f"/predictions/{next(iter(emulator.world.tasks))}"):
                        driver.get(emulator.base_url + path)
                        wide = "return [...document.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 90))"
                        assert driver.execute_script(wide) == []
                    assert driver.execute_async_script(
                        "const done = arguments[0], video = document.querySelector('video');"
                        "video.play().then(() => done(video.videoWidth > 0), (error) => done(String(error)))"
                    )
                    image = driver.find_element(By.CSS_SELECTOR, ".pair img")
                    assert driver.execute_script("return arguments[0].naturalWidth", image) == 320
                    assert driver.get_log("browser") == []
                    asked = re.findall(r'"url":"(https?://[^"]+)"', str(driver.get_log("performance")))
                    assert all(url.startswith(emulator.base_url) for url in asked)

        await asyncio.to_thread(look)
