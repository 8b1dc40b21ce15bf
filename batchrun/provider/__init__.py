"""The paid API. Alone knows aiohttp's client errors and the wire format."""
