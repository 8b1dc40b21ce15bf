"""The addresses that the API hands out. Who answers at them is not its business."""

from dataclasses import dataclass
from typing import Protocol


class Links(Protocol):
    """Where files are."""

    def place_upload(self, name: str, size_bytes: int, content_type: str) -> str:
        """Promise a place for a file: the URL of its PUT, which is where it is read, too."""

    def output_url(self, task_id: str) -> str:
        """Where the clip of a task is fetched."""

    def stranger_picture(self, number: int) -> str:
        """A picture that is none of ours: the same number, the same picture."""


@dataclass(slots=True)
class PlainLinks:
    """Addresses with nothing behind them, the same at every run: for simulations."""

    base_url: str = "https://files.example"
    uploads: int = 0
    """Places that were promised."""

    def place_upload(self, name: str, size_bytes: int, content_type: str) -> str:  # noqa: ARG002  # a place as any other
        """See `Links`."""
        self.uploads += 1
        return f"{self.base_url}/uploads/{self.uploads:016x}/{name}"

    def output_url(self, task_id: str) -> str:
        """See `Links`."""
        return f"{self.base_url}/outputs/{task_id}.mp4"

    def stranger_picture(self, number: int) -> str:
        """See `Links`."""
        return f"{self.base_url}/strangers/{number}.png"
