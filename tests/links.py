"""The addresses of an emulated API that has no server."""

from dataclasses import dataclass


@dataclass(slots=True)
class PlainLinks:
    """Addresses with nothing behind them; see `Links`. The same at every run."""

    base_url: str = "https://files.example"
    uploads: int = 0
    """Places that were promised."""

    def place_upload(self, name: str, size_bytes: int, content_type: str) -> str:
        self.uploads += 1
        return f"{self.base_url}/uploads/{self.uploads:016x}/{name}"

    def output_url(self, task_id: str) -> str:
        return f"{self.base_url}/outputs/{task_id}.mp4"

    def stranger_picture(self, number: int) -> str:
        return f"{self.base_url}/strangers/{number}.png"
