"""Requests made of forms, and the names of the runs that forms start."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from coolname.loader import load_config
from prefect.runtime import flow_run

from isaaclab_flows.schemas.config import Kind
from isaaclab_flows.schemas.errors import ConfigError, FlowsError
from isaaclab_flows.schemas.forms import Places
from isaaclab_flows.schemas.job import NAME_LABEL
from isaaclab_flows.schemas.request import Request, new_job_id
from isaaclab_flows.schemas.settings import settings
from isaaclab_flows.tasks.request.document import read_request
from isaaclab_flows.tasks.storage.base import absolute_uri

_OF_THE_UI = re.compile(
    "(alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|omicron|pi|rho|sigma|tau|upsilon|phi|chi"
    r"|psi|omega)\d*-[a-z]+"
)
"""What the UI's form fills in where nobody types a name: `rho2-maaz`, `psi780-gumarcaj`."""


def form_request(kind: Kind, config: dict[str, Any], places: Places, device: str) -> Request:
    """Return the request that a form stands for.

    The job's id is the flow run's where the form names none: a retry of the run is then the same job and goes on from
    the job's folder, while a run with changed parameters is another job.

    Args:
        kind: Training or evaluation.
        config: The configuration, as a file would write it.
        places: The form's places.
        device: `auto`, `cpu` or `cuda`.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"'device' is '{device}'", where="device", remedy="Allowed: 'auto', 'cpu', 'cuda'.")
    return Request(
        job_id=places.job_id or flow_run.id or new_job_id(),
        kind=kind,
        source="ui",
        config=config,
        asset_uri=absolute_uri(places.asset_uri) if places.asset_uri else absolute_uri("."),
        output_uri=absolute_uri(places.output_uri or settings().outputs),
        device=None if device == "auto" else device,
    )


def run_name() -> str:
    """Name the flow run that is about to start.

    The form's name, or the name that a person gave the run, is kept; else task, library and its id's first eight
    characters tell it from others.
    """
    parameters = flow_run.parameters or {}
    typed = parameters.get("name") or given_name(flow_run.name)
    if typed:
        return str(typed)
    custom = parameters.get("custom_environment")
    task = getattr(custom, "task", None) or parameters.get("task")
    return " · ".join(str(part) for part in (task, parameters.get("library"), (flow_run.id or "")[:8]) if part)


def document_run_name() -> str:
    """Name a pipeline's run: as the request document's sender calls it, else by the document."""
    uri = str((flow_run.parameters or {}).get("request_uri"))
    try:
        name = read_request(uri).labels.get(NAME_LABEL)
    except FlowsError:
        name = None  # the run itself will say what is wrong with the document
    return name or f"pipeline {uri}"


def given_name(name: str | None) -> str | None:
    """Return a run's name where a person wrote it, None where Prefect's server or UI made it up."""
    return None if not name or _OF_THE_UI.fullmatch(name) or _is_slug(name) else name


def _is_slug(name: str) -> bool:
    """Tell whether a name is one of coolname's, which Prefect's server gives: `curious-otter`, but not `walk-fast`."""
    words = name.split("-")
    return len(words) == 2 and words[0] in _slug_words() and words[1] in _slug_words()


@cache
def _slug_words() -> frozenset[str]:
    rules = load_config(Path(str(files("coolname") / "data"))).values()
    lists = (rule.get("words") for rule in rules)
    return frozenset(str(word) for words in lists if isinstance(words, list | tuple) for word in words)
