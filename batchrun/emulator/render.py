"""How the server gets its clips: one call that blocks, for its threads. The work is in `animate`, imported late."""

from pathlib import Path

from batchrun.emulator.animate.plan import Wish
from batchrun.emulator.animate.prompt import plan_of
from batchrun.emulator.distort import Distortion

AREA_PX = 1280 * 720
"""Width times height of a clip."""


def render(
    picture: Path, wish: Wish, target: Path, area_px: int = AREA_PX, distortion: Distortion | None = None
) -> tuple[str, ...]:
    """Write the clip. Blocks for seconds, on one core: run it in a thread.

    Args:
        picture: what is animated.
        wish: what was asked for.
        target: where the clip is written.
        area_px: width times height of the clip.
        distortion: how all frames differ from the picture; None: not at all.

    Returns:
        What was asked for and cannot be shown by moving a camera, for people.

    Raises:
        UnreadablePictureError: the picture cannot be opened.
    """
    from batchrun.emulator.animate import clip  # noqa: PLC0415  # OpenCV and FFmpeg: 85 MB
    from batchrun.emulator.animate.picture import load  # noqa: PLC0415  # the same

    plan = plan_of(wish)
    image = load(picture, area_px)
    clip.write(image if distortion is None else distortion.applied(image), plan, target)
    return plan.not_shown
