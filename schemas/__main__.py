"""`python -m schemas` (`make schema`) writes the JSON Schemas that editors complete configurations from."""

from __future__ import annotations

import json

from schemas.config import json_schema, schema_file
from schemas.sweep import sweep_json_schema, sweep_schema_file

for file, schema in ((schema_file(), json_schema()), (sweep_schema_file(), sweep_json_schema())):
    file.write_text(json.dumps(schema, indent=2) + "\n")
