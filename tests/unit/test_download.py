"""Downloads that are cut, changed under way, or lied about: what is called whole is the clip, byte for byte."""

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.provider.outcome import NotFoundError, RefusedError, TryLaterError
from batchrun.video.download import Download, PartFile
from tests.clocks import StillClock

CLIP, OTHER = bytes(range(256)) * 8, bytes(reversed(range(256))) * 8


@dataclass(frozen=True)
class Answer:
    """How the host answers one GET."""

    data: bytes = CLIP
    cut_at: int | None = None
    """It breaks after so many bytes of the answer's body."""
    etag: str | None = '"one"'
    ranges: bool = True
    checks_if_range: bool = True
    status: int | None = None
    shift: int = 0
    """A host that sends the rest from another byte than it says."""
    encoding: str | None = None
    """What the host calls the way its bytes are packed."""


@dataclass
class Host:
    """Answers in turn."""

    answers: Sequence[Answer]
    asked: list[Mapping[str, str]] = field(default_factory=list)
    sent_bytes: int = 0

    @asynccontextmanager
    async def stream(
        self, _: str, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
        answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        self.asked.append(headers)
        if answer.status is not None:
            yield answer.status, {}, self._pieces(b"", None)
            return
        first = int(headers["Range"][6:-1]) if "Range" in headers and answer.ranges else 0
        if answer.checks_if_range and headers.get("If-Range") != answer.etag:
            first = 0
        body = answer.data[first:]
        more = {"Content-Length": str(len(body))} | ({"ETag": answer.etag} if answer.etag else {})
        if answer.encoding:
            more["Content-Encoding"] = answer.encoding
        if first:
            more["Content-Range"] = f"bytes {first + answer.shift}-{len(answer.data) - 1}/{len(answer.data)}"
        yield 206 if first else 200, more, self._pieces(body, answer.cut_at)

    async def _pieces(self, body: bytes, cut_at: int | None) -> AsyncIterator[bytes]:
        for start in range(0, len(body) if cut_at is None else min(cut_at, len(body)), 100):
            piece = body[start : start + 100]
            self.sent_bytes += len(piece)
            yield piece
        if cut_at is not None:
            raise TryLaterError("cut")


async def fetched(host: Host, part: Path, tries: int = 30, max_bytes: int = 10_000) -> PartFile:
    download = Download(StillClock(), host.stream, part, max_bytes)
    for _ in range(tries):
        try:
            return await download.fetch("https://files.example/clip.mp4")
        except TryLaterError:
            continue
    raise AssertionError("never whole")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_a_cut_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    host = Host([Answer(cut_at=1000), Answer(cut_at=700), Answer()])
    got = await fetched(host, tmp_path / "part")
    assert got.path.read_bytes() == CLIP
    assert (got.sha256, got.size_bytes) == (digest(CLIP), len(CLIP))
    assert host.sent_bytes == len(CLIP)
    assert [asked.get("Range") for asked in host.asked] == [None, "bytes=1000-", "bytes=1700-"]


async def test_a_clip_that_changed_meanwhile_is_fetched_anew(tmp_path: Path) -> None:
    host = Host([Answer(cut_at=1000), Answer(OTHER, etag='"two"')])
    assert (await fetched(host, tmp_path / "part")).path.read_bytes() == OTHER


async def test_a_host_without_if_range_cannot_mix_two_clips(tmp_path: Path) -> None:
    host = Host([Answer(cut_at=1000), Answer(OTHER, etag='"two"', checks_if_range=False)])
    assert (await fetched(host, tmp_path / "part")).path.read_bytes() == OTHER


async def test_without_a_strong_validator_nothing_is_gone_on_with(tmp_path: Path) -> None:
    for etag in (None, 'W/"weak"'):
        host = Host([Answer(cut_at=1000, etag=etag), Answer(etag=etag)])
        assert (await fetched(host, tmp_path / "part")).path.read_bytes() == CLIP
        assert [asked.get("Range") for asked in host.asked] == [None, None]


async def test_a_rest_that_starts_elsewhere_is_not_taken(tmp_path: Path) -> None:
    host = Host([Answer(cut_at=1000), Answer(shift=8), Answer()])
    assert (await fetched(host, tmp_path / "part")).path.read_bytes() == CLIP


async def test_a_refused_range_starts_over_and_an_older_part_is_cut_off(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"x" * 9_999)
    host = Host([Answer(cut_at=1000), Answer(status=416), Answer()])
    assert (await fetched(host, part)).path.read_bytes() == CLIP


async def test_too_large_is_refused_before_and_while_it_comes(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="2048 bytes, more than the 2000"):
        await fetched(Host([Answer()]), tmp_path / "part", max_bytes=2000)
    with pytest.raises(NotFoundError):
        await fetched(Host([Answer(status=410)]), tmp_path / "part")


answers = st.builds(
    Answer,
    data=st.sampled_from([CLIP, CLIP[:1500], OTHER]),
    cut_at=st.none() | st.integers(0, 2048),
    etag=st.sampled_from(['"one"', '"two"', 'W/"one"', None]),
    ranges=st.booleans(),
    checks_if_range=st.booleans(),
    status=st.sampled_from([None, None, None, 416, 500, 503]),
    shift=st.sampled_from([0, 0, 0, 1]),
)


@given(st.lists(answers, max_size=12))
def test_what_is_called_whole_is_one_answer_and_nothing_else(stormy: list[Answer]) -> None:
    """A validator names one content, as RFC 9110 has it; whatever else the host does, nothing is mixed."""
    named = [
        answer
        if answer.etag in (None, 'W/"one"')
        else Answer(
            {'"one"': CLIP, '"two"': OTHER}[answer.etag or ""], answer.cut_at, answer.etag, answer.ranges,
            answer.checks_if_range, answer.status, answer.shift,
        )
        for answer in stormy
    ]  # fmt: skip
    with TemporaryDirectory() as folder:
        host = Host([*named, Answer()])
        got = asyncio.run(fetched(host, Path(folder) / "part"))
        data = got.path.read_bytes()
        assert data in (CLIP, OTHER, CLIP[:1500])
        assert (got.sha256, got.size_bytes) == (digest(data), len(data))


PACKED = gzip.compress(CLIP)


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(PACKED, encoding="gzip")],
        [Answer(CLIP, encoding="gzip")],
        [Answer(CLIP, encoding="br")],
        [Answer(CLIP, encoding="aws-chunked")],
        [Answer(PACKED, cut_at=100, encoding="gzip"), Answer(PACKED, encoding="gzip")],
        [Answer(PACKED[:-1], encoding="gzip"), Answer(PACKED, encoding="GZIP")],
        [Answer(PACKED[:20] + b"?" * 80, encoding="gzip"), Answer(CLIP)],
    ],
    ids=["packed", "called so", "br", "aws", "cut", "without its end", "damaged"],
)
async def test_a_clip_that_its_host_keeps_packed_or_calls_so_is_had(answers: list[Answer], tmp_path: Path) -> None:
    host = Host(answers)
    part = await fetched(host, tmp_path / "a.part", tries=len(answers))
    assert (part.path.read_bytes(), part.size_bytes) == (CLIP, len(CLIP))
    assert part.sha256 == hashlib.sha256(CLIP).hexdigest()
    assert not any("Range" in asked for asked in host.asked)


async def test_a_packed_clip_is_bounded_by_what_is_in_it(tmp_path: Path) -> None:
    bomb = Answer(gzip.compress(bytes(50_000_000)), encoding="gzip")
    with pytest.raises(RefusedError, match="more than"):
        await fetched(Host([bomb]), tmp_path / "a.part", max_bytes=2_000_000)
    assert (tmp_path / "a.part").stat().st_size <= 2_000_000
