"""VAMS 2.6's side of a run: the manifest and what it names, and the ingestion of what comes back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tests.infrastructure.vams_event import vams_2_6_event
from tests.system.vams.ingest import BLOCKED_SUFFIXES, BLOCKED_TYPES, IMAGES, MOST_PREVIEW, Ingested, read_metadata

MOST_RESULT = 380 * 1024
PEX = "0123456789abcdef0123456789abcdef"
BUS = "arn:aws:events:us-east-1:123456789012:event-bus/vams"


@dataclass
class Run26:
    """One execution of a workflow of VAMS 2.6.

    Attributes:
        s3: Client of the buckets.
        execution: Its id.
        kinds: The kind of each step, in order.
        file: What it is run on, below the asset; empty: the whole asset.
        configuration: What was typed on the execute screen, by step.
        extension: The workflow's base path extension.
    """

    s3: Any
    execution: str
    kinds: tuple[str, ...] = ("training",)
    file: str = ""
    asset_bucket: str = "asset-bkt"
    run_bucket: str = "run-bkt"
    aux_bucket: str = "aux-bkt"
    base: str = ""
    extension: str = "/"
    version: str = ""
    configuration: Mapping[int, object] = field(default_factory=dict)
    asset_metadata: Mapping[str, str] = field(default_factory=dict)
    file_metadata: Mapping[str, str] | None = None

    def output(self, part: str) -> str:
        """Return the key of one of the output prefixes, which all steps share."""
        first = f"isaaclab-flows-{self.kinds[0]}"
        return f"{self.base}pipelines/{first}/0a1b2-{first}/output/{self.execution}/{part}/"

    def event(self, token: str, step: int = 1) -> dict[str, Any]:
        """Write a step's inputs, as VAMS does before it calls, and return the event."""
        kind = self.kinds[step - 1]
        inputs = f"{self.base}pipelines/workflowExecutionInputs/{self.execution}"
        own = {
            "relativePath": f"/{self.file}",
            "databaseId": "robots",
            "assetId": "xAsset",
            "assetRootS3Key": "xAsset/",
            "auxPreviewPrefix": f"robots/xAsset/{self.file}/preview",
            "bucket": self.asset_bucket,
            "key": f"xAsset/{self.file}",
            "versionId": self.version,
            "bucketRegion": "",
        }
        earlier = [
            own
            | {"relativePath": f"/{name}", "bucket": self.run_bucket, "key": self.output("files") + name}
            | dict.fromkeys(("databaseId", "assetId", "assetRootS3Key", "auxPreviewPrefix", "versionId"), "")
            for name in (self.names("files") if step > 1 else [])
        ]
        manifest = {
            "schemaVersion": 1,
            "inputFiles": [own, *earlier],
            "inputMetadataS3Location": f"s3://{self.run_bucket}/{inputs}/metadata.json",
            "outputs": {
                "bucket": self.run_bucket,
                **{part: self.output(part) for part in ("files", "previews", "metadata", "results")},
            },
            "outputTarget": {
                "locationType": "asset",
                "assetId": "xAsset",
                "databaseId": "robots",
                "fileBaseExecutionPathExtension": self.extension,
            },
            "auxBucket": self.aux_bucket,
            "auxTempPrefix": f"pipelines/isaaclab-flows-{kind}/{self.execution}/",
            "auxPreviewPipelineSuffix": "",
            "systemConfig": {
                "orchestrationBusArn": BUS,
                "orchestrationEventPrefix": f"vams.prod.execution.{self.execution}.pipeline.{PEX}",
            },
        }
        files: list[dict[str, Any]] = [{"fileKey": "/", "metadata": dict(self.asset_metadata)}]
        if self.file:
            files.append({"fileKey": f"/{self.file}", "metadata": self.file_metadata, "attributes": {"a": "b"}})
        metadata = {
            "schemaVersion": 2,
            "assets": [
                {
                    "databaseId": "robots",
                    "assetId": "xAsset",
                    "assetData": {"assetName": "Cart", "description": "", "tags": []},
                    "files": files,
                }
            ],
        }
        configuration = self.configuration.get(step)
        text = json.dumps(configuration) if configuration is not None else ""
        self._put(f"{inputs}/metadata.json", json.dumps(metadata))
        self._put(f"{inputs}/pipeline{step}/manifest.json", json.dumps(manifest))
        self._put(f"{inputs}/pipeline{step}/config.json", text)
        return vams_2_6_event(
            execution=self.execution, token=token, kind=kind, step=step, bucket=self.run_bucket, base=self.base
        )

    def names(self, part: str) -> dict[str, int]:
        """Return the objects of an output prefix, all pages, with their sizes."""
        prefix = self.output(part)
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.run_bucket, Prefix=prefix)
        return {e["Key"].removeprefix(prefix): e["Size"] for page in pages for e in page.get("Contents", [])}

    def read(self, part: str, name: str) -> bytes:
        """Return one object of an output prefix."""
        body: bytes = self.s3.get_object(Bucket=self.run_bucket, Key=self.output(part) + name)["Body"].read()
        return body

    def in_asset(self, name: str) -> str:
        """Return where in the asset a file of ``files/`` arrives: the extension goes before its own name."""
        folder, slash, last = name.rpartition("/")
        return f"{folder}{slash}{self.extension.lstrip('/')}{last}"

    def ingest(self) -> Ingested:
        """Apply the rules of ingestion after the last step; ``lost`` has what makes VAMS record a failure."""
        taken = Ingested()
        files = self._checked("files", taken)
        previews = {name for name in files if ".previewFile." in name}
        taken.files = set(files) - previews
        for name in sorted(previews):
            base, _, suffix = name.partition(".previewFile")
            if base not in taken.files or suffix not in IMAGES or files[name] > MOST_PREVIEW:
                taken.lost.append(f"{name}: no preview of a file")
            else:
                taken.previews[base] = name
        pictures = self._checked("previews", taken)
        taken.asset_preview = next((n for n in sorted(pictures) if n.lower().endswith(IMAGES)), None)
        if pictures and taken.asset_preview is None:
            taken.lost.append("previews: files but no image")
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.asset_bucket, Prefix="xAsset/")
        there = {e["Key"].removeprefix("xAsset/") for page in pages for e in page.get("Contents", [])}
        for name in sorted(self._checked("metadata", taken)):
            is_asset = PurePosixPath(name).name == "asset.metadata.json"
            document = json.loads(self.read("metadata", name))
            read_metadata("asset.metadata.json" if is_asset else name, document, taken.files | there, taken)
        for name, size in self.names("results").items():
            self.read("results", name).decode()
            if size > MOST_RESULT:
                taken.lost.append(f"{name}: longer than {MOST_RESULT:,} bytes")
        return taken

    def _checked(self, part: str, taken: Ingested) -> dict[str, int]:
        found = self.names(part)
        for name in found:
            kind = self.s3.head_object(Bucket=self.run_bucket, Key=self.output(part) + name)["ContentType"]
            if PurePosixPath(name).suffix.lower() in BLOCKED_SUFFIXES or any(word in kind for word in BLOCKED_TYPES):
                taken.lost.append(f"{part}: dropped whole because of {name} ({kind})")
                return {}
        return found

    def _put(self, key: str, text: str) -> None:
        self.s3.put_object(Bucket=self.run_bucket, Key=key, Body=text.encode())
