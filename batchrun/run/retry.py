"""What a task's failure means. Source: the provider's `docs/error-codes` and `docs/troubleshooting-guide`."""

from batchrun.queue.failures import FailureKind

_BY_CODE = {
    1200: FailureKind.MODERATION,
    1400: FailureKind.PARAMETERS,
    1401: FailureKind.PARAMETERS,
    1402: FailureKind.PICTURE_UNREACHABLE,
    1403: FailureKind.TASK_FAILED,
    1405: FailureKind.TASK_FAILED,
    1406: FailureKind.PROVIDER_ERROR,
    1407: FailureKind.NO_CREDIT,
    5000: FailureKind.PROVIDER_ERROR,
    5003: FailureKind.PROVIDER_ERROR,
    5004: FailureKind.PROVIDER_ERROR,
}
_BY_WORD = {
    "cancelled": FailureKind.TASK_CANCELLED,
    "canceled": FailureKind.TASK_CANCELLED,
    "deleted": FailureKind.TASK_CANCELLED,
    "timeout": FailureKind.PROVIDER_ERROR,
}


def failure_kind(status_word: str, code: int) -> FailureKind:
    """The kind of a task failure by its code, else by the provider's word.

    Codes that are not documented: 5xxx is trouble at the provider, anything else a failed task.
    """
    if code in _BY_CODE:
        return _BY_CODE[code]
    if 5000 <= code < 6000:  # noqa: PLR2004
        return FailureKind.PROVIDER_ERROR
    return _BY_WORD.get(status_word, FailureKind.TASK_FAILED)
