"""Registers job definitions once for each content, and cleans up those that nothing uses any more."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from prefect_aws_batch.batch_api import BatchApi
from prefect_aws_batch.configuration import BatchJobConfiguration
from prefect_aws_batch.definitions import definition_name, job_definition


class Registrar:
    """Finds or registers the job definition of a configuration."""

    def __init__(self, api: BatchApi) -> None:
        self._api = api
        self._known: dict[str, str] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def definition_for(self, configuration: BatchJobConfiguration) -> str:
        """Return the ARN (or the operator's own name) of the definition to submit.

        A definition is named after its content, so whoever registered it, equal content is found and not registered
        again; runs that start together wait for the first of them.
        """
        if configuration.job_definition:
            return configuration.job_definition
        definition = job_definition(configuration)
        name = definition_name(configuration.job_definition_prefix, definition)
        async with self._locks.setdefault(name, asyncio.Lock()):
            if name not in self._known:
                self._known[name] = await self._find(name) or await self._api.register(name, definition)
            return self._known[name]

    async def definition_after_refusal(self, configuration: BatchJobConfiguration, refused: str) -> str | None:
        """Return another definition of the same content where the refused one was taken away, or None."""
        if configuration.job_definition:
            return None
        self._known = {name: known for name, known in self._known.items() if known != refused}
        definition = await self.definition_for(configuration)
        return definition if definition != refused else None

    async def _find(self, name: str) -> str | None:
        revisions = await self._api.definitions(name)
        newest = max(revisions, key=lambda revision: revision["revision"], default=None)
        return str(newest["jobDefinitionArn"]) if newest else None

    async def clean_up(self, prefix: str, *, keep: int = 20) -> list[str]:
        """Take this worker type's old definitions out of use and return their ARNs.

        Kept are those that this worker used since it started, and of the others the newest, by `keep`; of a name with
        several revisions the newest only. Definitions of other makers are never touched: a name must be the prefix
        and a hash. A job that is live keeps the definition it was submitted with, and a run that needs one again
        registers it anew.

        Args:
            prefix: The pool's job definition prefix.
            keep: How many unused definitions to leave.
        """
        ours = re.compile(rf"{re.escape(prefix)}-[0-9a-f]{{20}}")
        by_name: dict[str, list[dict[str, Any]]] = {}
        for found in await self._api.all_definitions():
            if ours.fullmatch(found["jobDefinitionName"]):
                by_name.setdefault(found["jobDefinitionName"], []).append(found)
        old: list[str] = []
        newest: list[dict[str, Any]] = []
        for revisions in by_name.values():
            *superseded, last = sorted(revisions, key=lambda revision: revision["revision"])
            old += [str(revision["jobDefinitionArn"]) for revision in superseded]
            newest.append(last)
        # Batch tells no age, but lists definitions in the order of registration.
        unused = [str(last["jobDefinitionArn"]) for last in newest if last["jobDefinitionName"] not in self._known]
        old += unused[: max(len(unused) - keep, 0)]
        for arn in old:
            await self._api.deregister(arn)
        return old
