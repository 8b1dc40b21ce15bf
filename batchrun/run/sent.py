"""What is sent to the provider for one attempt. Source: the model's page; documented fields only."""

from collections.abc import Mapping

from batchrun.queue.records import Revision


def inputs_of(revision: Revision, image_url: str) -> Mapping[str, object]:
    """The body of a submit; what is empty is left out.

    Args:
        revision: what is asked for.
        image_url: where the provider reads the picture.
    """
    inputs: dict[str, object] = {
        "prompt": revision.prompt,
        "image": image_url,
        "guidance_scale": revision.guidance_hundredths / 100,
        "duration": revision.duration_s,
    }
    if revision.negative_prompt:
        inputs["negative_prompt"] = revision.negative_prompt
    return inputs
