"""Whether a manifest wants sidecars, asked before it is read as a whole."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from batchrun.errors import ManifestError
from batchrun.manifest.document import ManifestPart
from batchrun.manifest.yamltext import read_yaml


def wants_sidecars(path: Path) -> bool:
    """What the manifest's file says now; the default where it cannot be read. Blocks."""
    default = bool(ManifestPart.model_fields["sidecar"].default)
    try:
        plain = read_yaml(path, str(path)).plain()
        return TypeAdapter(bool).validate_python(plain.get("sidecar", default) if isinstance(plain, dict) else default)
    except (ManifestError, ValidationError):
        return default
