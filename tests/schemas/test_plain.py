"""Names forge nothing where people read them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from isaaclab_flows.cli.console import console
from isaaclab_flows.schemas.dotted import value_of
from isaaclab_flows.schemas.overrides import HydraOverride
from isaaclab_flows.schemas.plain import markdown_text, printable
from isaaclab_flows.tasks.job.checkpoints import iteration_of

OVERRIDE: TypeAdapter[str] = TypeAdapter(HydraOverride)


@pytest.mark.parametrize("name", ["E [/bold]", "[red]x", "[link=http://x]y[/link]", ":smile:", "a\x1b[2Jb\x07"])
def test_the_terminal_shows_a_name_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console().print(name)
    shown = capsys.readouterr().err
    assert shown.strip() == printable(name)
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Ant, seed 3", "Ant, seed 3"),
        ("rsl_rl · model_100.pt", "rsl_rl · model_100.pt"),
        ("x\n# Heading", "x \\# Heading"),
        ("[a](http://b)", "\\[a\\](http:\\//b)"),
        ("![a](https://b/c.png)", "\\!\\[a\\](https:\\//b/c.png)"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("a|b", "a\\|b"),
        ("`x` **y** \\", "\\`x\\` \\*\\*y\\*\\* \\\\"),
        ("www.example.com", "www\\.example.com"),
    ],
)
def test_markdown_shows_a_name_as_it_is(name: str, written: str) -> None:
    assert markdown_text(name) == written


@pytest.mark.parametrize(
    "override",
    ["env.x=${oc.env:HOME}", "env.x=${ oc.env : HOME }", "agent.x={a:${oc.env:HOME}}", "env.x=${${env.y}:Z}"],
)
def test_an_override_reads_no_environment(override: str) -> None:
    with pytest.raises(ValidationError, match="only values of the configuration itself"):
        OVERRIDE.validate_python(override)


@pytest.mark.parametrize("override", ["env.x=${env.y}", "agent.x={a:1,b:${env.y}}", "env.x=10"])
def test_an_override_may_refer_to_the_configuration(override: str) -> None:
    assert OVERRIDE.validate_python(override) == override


def test_long_numbers_and_deep_brackets_are_text() -> None:
    assert iteration_of("model_" + "9" * 5_000 + ".pt") is None
    assert iteration_of("model_1500.pt") == 1500
    assert value_of("[" * 100_000) == "[" * 100_000
