"""`python -m isaaclab_flows.schemas` (`make schema`) writes the JSON Schemas that editors complete from."""

from __future__ import annotations

import json

from isaaclab_flows.schemas.config import json_schema, schema_file
from isaaclab_flows.schemas.sweep import sweep_json_schema, sweep_schema_file

for file, schema in ((schema_file(), json_schema()), (sweep_schema_file(), sweep_json_schema())):
    file.write_text(json.dumps(schema, indent=2) + "\n")
