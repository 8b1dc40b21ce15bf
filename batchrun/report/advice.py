"""What went wrong, for people, and what to do about it, by the kind that the queue stores."""

from dataclasses import dataclass

from batchrun.queue.failures import FailureKind


@dataclass(frozen=True, slots=True)
class Advice:
    """What happened, and the next step."""

    what: str
    todo: str


_BY_ITSELF = "Nothing: the next run goes on with it."

ADVICE: dict[str, Advice] = {
    FailureKind.REFUSED: Advice(
        "The provider refused the request.", "Read its words, change the prompt or the picture, and run again."
    ),
    FailureKind.MODERATION: Advice(
        "The provider's content check said no.", "Change the prompt or the picture and run again."
    ),
    FailureKind.PARAMETERS: Advice(
        "The provider found a value wrong.", "Read its words, change the value in the manifest, and run again."
    ),
    FailureKind.PICTURE_UNREACHABLE: Advice(
        "The provider could not fetch the picture.",
        "Open the picture's address in a browser that is not logged in, or put the file beside the manifest.",
    ),
    FailureKind.TASK_FAILED: Advice(
        "The generation failed at the provider.",
        "It was tried as often as is sensible; batchrun retry allows one more attempt, or change the prompt a little.",
    ),
    FailureKind.PROVIDER_ERROR: Advice(
        "The provider had trouble.",
        "The next run tries again where attempts are left; else ask the provider's support.",
    ),
    FailureKind.TASK_CANCELLED: Advice(
        "The prediction was cancelled or deleted at the provider.",
        "Find out who else works with the account; changing the job buys it anew.",
    ),
    FailureKind.NO_CREDIT: Advice("The account could not pay for it.", "Top the account up and run again."),
    FailureKind.PICTURE_UNUSABLE: Advice(
        "The picture's file is gone, unreadable or another one than planned.", "Put the picture in place and run again."
    ),
    FailureKind.OUTPUT_OCCUPIED: Advice(
        "A file that batchrun did not write stands under the clip's name.", "Move that file away and run again."
    ),
    FailureKind.UNDECIDED: Advice(
        "Nobody can tell whether the submit created something; its price is held.",
        "Decide: batchrun resolve MANIFEST ID with --adopt PREDICTION, --void or --leave.",
    ),
    FailureKind.LEFT_UNDECIDED: Advice(
        "A person left it undecided; its price counts as spent.", "Change the job to buy it anew, or leave it so."
    ),
    FailureKind.BROKEN_CLIP: Advice(
        "The clip is paid for but fails its checks.",
        "Look at the file in .batchrun/rejected, claim the money back with the prediction's id; batchrun redo buys a new take.",
    ),
    FailureKind.WARNED_CLIP: Advice(
        "The clip is paid for and whole, but looks wrong, and `checks: strict` rejects that.",
        "Look at the file in .batchrun/rejected; batchrun resolve MANIFEST ID --accept takes it, batchrun redo buys a new take.",
    ),
    FailureKind.REJECTED_TWIN: Advice(
        "The very same request brought a clip that was rejected, under another name.",
        "See that job; change this one to buy something else.",
    ),
    FailureKind.CLIP_GONE: Advice(
        "The very same clip was bought before; its file is gone or was changed, and the provider has it no longer.",
        "Put the file back and run again, or buy a new one with batchrun redo.",
    ),
    "retention": Advice(
        "The clip is paid for, but the provider does not have it any more.",
        "Ask the provider's support with the prediction's id.",
    ),
    "unknown_outcome": Advice(
        "Nobody knows yet whether the submit created something.",
        "Nothing: runs look for evidence. What stays open is put before you.",
    ),
    "upload_failed": Advice("The picture could not be uploaded.", _BY_ITSELF),
    "download_failed": Advice("The clip is paid for and could not be downloaded yet.", _BY_ITSELF),
    "too_large": Advice(
        "The clip is larger than is accepted.", "Raise limits.max_clip_mb, then run again; it is fetched for free."
    ),
    "stuck": Advice(
        "The provider has worked on it for unusually long.", "Nothing for now: its money is held, runs keep looking."
    ),
    "disk": Advice("The clip could not be written.", "Make room or grant access, then run again."),
    "twin": Advice("It waits for the very same clip of another job.", "See that job: this one follows it for free."),
    "void": Advice("Nothing was created, and the manifest has changed meanwhile.", _BY_ITSELF),
    "not_sent": Advice("The request could not be sent.", _BY_ITSELF),
    "stopped": Advice("The run was stopped before the request left.", _BY_ITSELF),
}


def advice_on(kind: str) -> Advice:
    """What to say of a kind, also of one that this version does not know."""
    return ADVICE.get(kind) or Advice(kind.replace("_", " "), "See the job's message.")
