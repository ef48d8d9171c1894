"""How the Lambda reaches Prefect: credentials, links, and what it is made of."""

from __future__ import annotations

import ast
import sys

import pytest

from bridge.errors import HopelessError
from bridge.prefect_api import PrefectApi, authorization, ui_url
from tests.infrastructure.bridge.conftest import LAMBDA
from tests.infrastructure.prefect_stand_in import prefect_stand_in


def test_credentials_are_cached_and_read_again_when_they_are_refused() -> None:
    secrets = iter([{"api_key": "old"}, {"api_key": "new"}])
    reads = 0

    def read() -> dict[str, str]:
        nonlocal reads
        reads += 1
        return next(secrets)

    with prefect_stand_in() as prefect:
        api = PrefectApi(prefect.url, read, pause=lambda _: None)
        prefect.authorization = "Bearer old"
        api.start(prefect.deployment, parameters={}, key="a", name="n", tags=[])
        assert reads == 1
        prefect.authorization = "Bearer new"
        api.start(prefect.deployment, parameters={}, key="b", name="n", tags=[])
        assert reads == 2


def test_credentials_that_stay_refused_are_hopeless() -> None:
    with prefect_stand_in() as prefect:
        prefect.authorization = "Bearer right"
        api = PrefectApi(prefect.url, lambda: {"api_key": "wrong"}, pause=lambda _: None)
        with pytest.raises(HopelessError, match="PREFECT_SECRET_ARN"):
            api.start(prefect.deployment, parameters={}, key="a", name="n", tags=[])


def test_both_kinds_of_credentials_make_their_header() -> None:
    assert authorization({"api_key": "k"}) == "Bearer k"
    assert authorization({"auth_string": "admin:pass"}) == "Basic YWRtaW46cGFzcw=="
    with pytest.raises(HopelessError):
        authorization({})


@pytest.mark.parametrize(
    ("api", "page"),
    [
        ("http://server:4200/api", "http://server:4200/runs/flow-run/r1"),
        (
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
            "https://app.prefect.cloud/account/a/workspace/w/runs/flow-run/r1",
        ),
    ],
)
def test_the_link_leads_to_the_ui_of_the_api(api: str, page: str) -> None:
    assert ui_url(api, "r1") == page


def test_the_package_is_a_few_kilobytes_of_the_standard_library_and_boto3() -> None:
    sources = [path for path in LAMBDA.rglob("*.py") if "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in sources) < 40_000
    allowed = {*sys.stdlib_module_names, "boto3", "botocore", "bridge"}
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, source
