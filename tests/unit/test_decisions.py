"""Small decisions: what a failure means, which exit code wins, what a URL may be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchrun.errors import EXIT_MEANING, ExitCode, QueueError, UsageError, most_urgent
from batchrun.plan import check_folders
from batchrun.provider.client import BillingRow
from batchrun.provider.outcome import UnsafeUrlError
from batchrun.provider.urls import check_base_url, check_follow_up, origin_of
from batchrun.queue.answers import RefundSeen
from batchrun.queue.failures import FailureKind, may_try_again
from batchrun.queue.records import RefundDue
from batchrun.run.refunds import judge_refund
from batchrun.run.retry import BROKEN, DOWNLOAD, NOT_SENT, POLL, UPLOAD, RetryRule, failure_kind, throttled_wait_s


@given(
    st.sampled_from([UPLOAD, POLL, DOWNLOAD, BROKEN, NOT_SENT]),
    st.integers(1, 100_000),
    st.floats(0, 1),
    st.none() | st.floats(0, 1e9),
)
def test_pauses_are_bounded_and_honour_the_server(
    rule: RetryRule, failures: int, spread: float, asked_s: float | None
) -> None:
    wait_s = rule.wait_s(failures, spread, asked_s)
    if asked_s is None:
        assert 0 <= wait_s <= rule.ceiling_s
        assert rule.wait_s(failures, 1.0) >= wait_s  # full jitter: anything up to the longest wait
    else:
        assert min(asked_s, rule.patience_s) <= wait_s <= max(rule.patience_s, rule.ceiling_s) * 1.1


@given(st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_a_throttled_submit_waits_as_it_was_told_and_never_for_long(spread: float, asked_s: float | None) -> None:
    wait_s = throttled_wait_s(asked_s, spread)
    assert 65 <= wait_s <= 71.5 if asked_s is None else 1 <= wait_s <= 600
    assert asked_s is None or not 1 <= asked_s <= 600 or wait_s == asked_s


@pytest.mark.parametrize(
    ("code", "word", "kind", "again"),
    [
        (1200, "failed", FailureKind.MODERATION, False),
        (1401, "failed", FailureKind.PARAMETERS, False),
        (1402, "failed", FailureKind.PICTURE_UNREACHABLE, True),
        (1405, "failed", FailureKind.TASK_FAILED, True),
        (5003, "failed", FailureKind.PROVIDER_ERROR, True),
        (5999, "failed", FailureKind.PROVIDER_ERROR, True),
        (0, "timeout", FailureKind.PROVIDER_ERROR, True),
        (0, "cancelled", FailureKind.TASK_CANCELLED, False),
        (0, "failed", FailureKind.TASK_FAILED, True),
    ],
)
def test_what_a_failure_means(code: int, word: str, kind: FailureKind, *, again: bool) -> None:
    assert failure_kind(word, code) is kind
    assert may_try_again(kind, 1) is again


@pytest.mark.parametrize("kind", list(FailureKind))
def test_no_failure_is_tried_for_ever(kind: FailureKind) -> None:
    assert kind is FailureKind.NO_CREDIT or not may_try_again(kind, 3)


@pytest.mark.parametrize(
    ("codes", "wins"),
    [
        ({3, 4}, 4),
        ({8, 3}, 8),
        ({5, 4}, 5),
        ({12, 7, 5, 4, 8, 10, 3}, 12),
        ({7, 5}, 7),
        ({10, 8}, 8),
        ({10, 3}, 10),
        (set(), 0),
    ],
)
def test_the_most_urgent_exit_code_wins(codes: set[int], wins: int) -> None:
    assert most_urgent({ExitCode(code) for code in codes}) == wins


def test_every_exit_code_has_a_meaning() -> None:
    assert set(EXIT_MEANING) == set(ExitCode)


@pytest.mark.parametrize(
    "url", ["https://api.wavespeed.ai", "https://api.wavespeed.ai/", "https://api.wavespeed.ai/api/v3/"]
)
def test_the_api_address_in_every_form(url: str) -> None:
    assert check_base_url(url) == "https://api.wavespeed.ai"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.wavespeed.ai",
        "api.wavespeed.ai",
        "https://u:p@x.example",
        "ftp://x",
        "https://x/?a=b",
        "https://[",
        "",
    ],
)
def test_the_key_is_never_sent_to_an_unsafe_address(url: str) -> None:
    with pytest.raises(UsageError, match="WAVESPEED_BASE_URL"):
        check_base_url(url)


def test_local_servers_are_allowed() -> None:
    assert check_base_url("http://127.0.0.1:8089") == "http://127.0.0.1:8089"
    assert check_base_url("http://localhost:1") == "http://localhost:1"


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example/a.mp4",
        "https://u@cdn.example/a.mp4",
        "file:///etc/passwd",
        "http://127.0.0.1/a",
        "https://",
        "//x",
    ],
)
def test_addresses_that_are_not_followed(url: str) -> None:
    with pytest.raises(UnsafeUrlError):
        check_follow_up(url, api_is_local=False)


def test_addresses_that_are_followed() -> None:
    check_follow_up("https://cdn.example/a.mp4?sig=%2Fx", api_is_local=False)
    check_follow_up("http://127.0.0.1:5/a.mp4", api_is_local=True)


def test_an_origin_always_has_its_port() -> None:
    assert origin_of("https://api.wavespeed.ai/x") == "https://api.wavespeed.ai:443"
    assert origin_of("http://[::1]:8/x") == "http://[::1]:8"


HOUR_MS = 3_600_000
ASKED = ["p", "another"]


@pytest.mark.parametrize(
    ("kinds", "age_ms", "wanted"),
    [
        (["deduct", "refund"], HOUR_MS, RefundSeen.REFUNDED),
        (["deduct"], 23 * HOUR_MS, None),
        (["deduct"], 24 * HOUR_MS, RefundSeen.DENIED),
        ([], 23 * HOUR_MS, None),
        ([], 24 * HOUR_MS, RefundSeen.NEVER_CHARGED),
        (["deduct", "refund"], 48 * HOUR_MS, RefundSeen.REFUNDED),
    ],
)
def test_what_the_billing_says_of_a_failed_attempt(kinds: list[str], age_ms: int, wanted: RefundSeen | None) -> None:
    due = RefundDue(attempt_id="a", batch_id=1, prediction_id="p", amount_usd_micros=250_000, failed_ms=0)
    rows = [BillingRow(kind=kind, prediction_id="p", amount_usd_micros=250_000, created_ms=0) for kind in kinds]
    rows.append(BillingRow(kind="refund", prediction_id="another", amount_usd_micros=250_000, created_ms=0))
    assert judge_refund(due, rows, ASKED, age_ms) is wanted


def test_an_empty_billing_proves_nothing() -> None:
    due = RefundDue(attempt_id="a", batch_id=1, prediction_id="p", amount_usd_micros=250_000, failed_ms=0)
    assert judge_refund(due, [], ASKED, 100 * HOUR_MS) is None
    strangers = BillingRow(kind="deduct", prediction_id="of somebody else", amount_usd_micros=250_000, created_ms=0)
    assert judge_refund(due, [strangers], ASKED, 100 * HOUR_MS) is None


@pytest.mark.parametrize(
    ("there", "gone"),
    [
        (["/s/v/a", "/s/v/b", "/s/v"], None),
        (["/s/v/a", "/s/v"], None),  # one product less
        (["/s/v", "/s"], "/s/v/a .and 1 more folders. is gone, and 3 "),  # an empty mount point
        (["/s"], "/s/v/a .and 1 more folders. is gone, and 3 "),
        (["/s/v/b", "/s/v"], "/s/v/a is gone, and 2 "),  # a whole category, or its disk
    ],
)
def test_a_single_clips_folder_that_is_gone_alone_is_no_unmounted_disk(there: list[str], gone: str | None) -> None:
    standing = {Path(one) for one in (*there, "/")}
    finished = {Path("/s/v/a"): 2, Path("/s/v/b"): 1}
    if gone is None:
        check_folders(finished, standing.__contains__)
        return
    with pytest.raises(QueueError, match=f"the folder {gone}finished"):
        check_folders(finished, standing.__contains__)


def test_a_folder_behind_a_link_that_leads_nowhere_is_gone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "unmounted")
    with pytest.raises(QueueError, match="b is gone, and 1 finished"):
        check_folders({tmp_path / "a": 2, tmp_path / "b": 1})
