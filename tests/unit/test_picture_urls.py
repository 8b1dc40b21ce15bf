"""Which addresses of pictures are accepted: what the provider can fetch; on this machine's own API also this machine's."""

from pathlib import Path

import pytest

from batchrun.errors import ManifestError
from batchrun.manifest.read import load_manifest

ACCEPTED = "write a public https:// URL, or a file beside the manifest"


def judged(folder: Path, url: str, **options: bool) -> str | None:
    (folder / "shop.yaml").write_text(f"version: 1\njobs: [{{id: a, image: '{url}', prompt: x}}]\n")
    try:
        load_manifest(folder / "shop.yaml", **options)
    except ManifestError as error:
        (problem,) = error.problems
        assert problem.path == "jobs[0].image"
        return problem.message
    return None


HOSTS = [
    "localhost", "LOCALHOST", "localhost.", "shop.localhost", "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.3.4",
    "192.168.1.20", "169.254.169.254", "100.64.0.1", "0.0.0.1", "[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:10.0.0.1]",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("port", ["", ":8443"])
def test_what_only_this_network_can_reach_is_refused(tmp_path: Path, host: str, port: str) -> None:
    said = judged(tmp_path, f"https://{host}{port}/b.png")
    assert said is not None
    assert said.startswith(f"'https://{host}{port}/b.png' ")
    assert "the provider cannot fetch it" in said
    assert said.endswith(ACCEPTED)


@pytest.mark.parametrize("url", ["http://example.com/a.png", "HTTP://example.com/a.png", "http://10.0.0.1/a.png"])
def test_http_is_refused(tmp_path: Path, url: str) -> None:
    said = judged(tmp_path, url)
    assert said == f"'{url}' is not https; {ACCEPTED}"
    assert judged(tmp_path, url, previews=True, fast=True) == said  # a preview says what the paid run will say


@pytest.mark.parametrize(
    "url",
    ["https://shop.example/a.png?w=1&h=2#x", "https://8.8.8.8/a.png", "https://[2606:4700::1111]:8443/a.png",
     "HTTPS://shop.example/a.png", "https://localhost.example/a.png", "https://10.example/a.png"],
)  # fmt: skip
def test_public_addresses_are_taken(tmp_path: Path, url: str) -> None:
    assert judged(tmp_path, url) is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/a.png", "https://localhost/b.png", "http://shop.example/a.png"])
def test_an_api_on_this_machine_fetches_from_it(tmp_path: Path, url: str) -> None:
    assert judged(tmp_path, url, fast=True) is None


def test_a_long_url_is_shown_short(tmp_path: Path) -> None:
    said = judged(tmp_path, "http://shop.example/" + "a" * 2000)
    assert said is not None
    assert len(said) < 250
