"""The addresses that the API hands out. Who answers at them is not its business."""

from typing import Protocol


class Links(Protocol):
    """Where files are."""

    def place_upload(self, name: str, size_bytes: int, content_type: str) -> str:
        """Promise a place for a file: the URL of its PUT, which is where it is read, too."""

    def output_url(self, task_id: str) -> str:
        """Where the clip of a task is fetched."""

    def stranger_picture(self, number: int) -> str:
        """A picture that is none of ours: the same number, the same picture."""
