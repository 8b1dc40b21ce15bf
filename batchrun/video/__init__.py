"""From a URL at the provider to a checked clip under its name."""
