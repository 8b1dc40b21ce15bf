"""What the emulated model takes: the documented fields and ranges of its page. Pure."""

from collections.abc import Mapping
from typing import Any

from batchrun.emulator.books import PRICE_USD_MICROS
from batchrun.emulator.reply import RefusedRequestError

_FIELDS = {"prompt", "image", "negative_prompt", "guidance_scale", "duration"}
_MAX_CHARS = 2500


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """Look at every field.

    Raises:
        RefusedRequestError: 400 with 1400 (missing) or 1401 (invalid).
    """
    for name in ("prompt", "image"):
        if not isinstance(inputs.get(name), str) or not inputs[name]:
            raise RefusedRequestError(400, 1400, f"missing parameter: {name}")
    for name in ("prompt", "negative_prompt"):
        if not isinstance(inputs.get(name, ""), str) or len(inputs.get(name, "")) > _MAX_CHARS:
            raise RefusedRequestError(400, 1401, f"invalid parameter: {name}")
    duration_s = inputs.get("duration", 5)
    if not isinstance(duration_s, int) or isinstance(duration_s, bool) or duration_s not in PRICE_USD_MICROS:
        raise RefusedRequestError(400, 1401, "invalid parameter: duration")
    guidance = inputs.get("guidance_scale", 0.5)
    if not isinstance(guidance, (int, float)) or isinstance(guidance, bool) or not 0 <= guidance <= 1:
        raise RefusedRequestError(400, 1401, "invalid parameter: guidance_scale")
    if unknown := set(inputs) - _FIELDS:
        raise RefusedRequestError(400, 1401, f"unknown parameter: {', '.join(sorted(unknown))}")
    if not inputs["image"].startswith(("http://", "https://")):
        raise RefusedRequestError(400, 1401, "invalid parameter: image")
