"""The fingerprint: a digest of what would be sent, fixed from day one (design, section 4a).

Two jobs with one fingerprint would buy the same clip. Changing anything here would make every catalog look changed and
buy it again, so version 1 stays as it is for ever and the golden digests in the tests hold it; a new rule gets a new
version, and stored rows are compared by their own.
"""

import hashlib
import json
import unicodedata
from dataclasses import dataclass

FINGERPRINT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Content:
    """What would be sent. The picture is a local file's sha256 or a URL as written, never both."""

    model: str
    prompt: str
    negative_prompt: str
    guidance_hundredths: int
    duration_s: int
    image_sha256: str | None
    image_url: str | None


def fingerprint(content: Content) -> str:
    """Version 1: sha256 over canonical JSON (sorted keys, no blanks, ASCII escapes) with defaults filled in."""
    if (content.image_sha256 is None) == (content.image_url is None):
        raise ValueError("a picture is either a file's digest or a URL")
    image = {"sha256": content.image_sha256} if content.image_sha256 else {"url": content.image_url}
    payload = {
        "v": 1,
        "model": content.model,
        "prompt": normal_text(content.prompt),
        "negative_prompt": normal_text(content.negative_prompt),
        "guidance_hundredths": content.guidance_hundredths,
        "duration_s": content.duration_s,
        "image": image,
    }
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def normal_text(text: str) -> str:
    """NFC, line ends as LF, no blanks at either end: what an editor or an export changes without meaning it."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
