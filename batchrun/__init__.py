"""batchrun: a catalog of product pictures becomes short videos, unattended, for a known amount of money."""

__version__ = "0.1.0"
SCHEMA_VERSION = 1
"""Of what `--json` prints."""
