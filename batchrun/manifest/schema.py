"""The manifest's JSON Schema, for editors: from the same model that reads it."""

from typing import Any

from pydantic import TypeAdapter

from batchrun.manifest.catalogue import models, tiers
from batchrun.manifest.document import DELIMITERS, JobPart, ManifestPart, SourcePart

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """What an editor completes and checks. Looser than a run: pictures, columns and clashes only a run can judge."""
    schema: dict[str, Any] = ManifestPart.model_json_schema(by_alias=True)
    entries = TypeAdapter(JobPart | SourcePart).json_schema(by_alias=True)
    definitions = {**schema.get("$defs", {}), **entries["$defs"]}
    properties = schema["properties"]
    properties["jobs"] = {"type": "array", "minItems": 1, "items": {"anyOf": entries["anyOf"]}}
    properties["model"]["enum"] = sorted(models())
    properties["version"] = {"enum": [1, "1"]}
    definitions["LimitsPart"]["properties"]["tier"] = {"enum": [*tiers(), None]}
    definitions["SourcePart"]["properties"]["delimiter"] = {"enum": [*DELIMITERS, None]}
    for name in ("duration", "guidance_scale", "priority"):  # templates, or the plain value
        definitions["SourcePart"]["properties"][name] = {"type": ["string", "number", "null"]}
    cell = {"type": ["string", "number", "boolean", "null"]}
    for name in ("include", "exclude"):
        values = {"anyOf": [cell, {"type": "array", "items": cell}]}
        definitions["SourcePart"]["properties"][name] = {"type": "object", "additionalProperties": values}
    for part in ("DefaultsPart", "JobPart", "SourcePart"):
        definitions[part]["properties"]["tags"] = {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]
        }
    return {"$schema": DIALECT, "title": "batchrun manifest", **schema, "$defs": definitions}
