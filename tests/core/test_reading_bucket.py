"""Reading transcripts straight from the bucket: what README says works on a real one, with jq and with BigQuery."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
TRANSCRIPT = GOLDEN / "transcript-1.json"
SCHEMA: Mapping[str, Any] = json.loads((GOLDEN / "transcript.schema.json").read_text())
DDL = (ROOT / "infra" / "transcripts.sql").read_text()
PROGRAMS = re.findall(
    r"gcloud storage cat .*?\| jq ((?:-\w+ )*)'(.*?)'$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
)
Type = str | tuple["Type"] | dict[str, "Type"]
"""A type of BigQuery: its name; an ARRAY, as a tuple of its elements' type; a STRUCT, as its fields."""

NAMES = {"string": "STRING", "integer": "INT64", "number": "FLOAT64", "boolean": "BOOL"}


# ---- the table


def wanted(schema: Mapping[str, Any]) -> Type:
    """The type that holds every value of a JSON Schema; JSON where no other does."""
    if "$ref" in schema:
        return wanted(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if options := [o for o in schema.get("anyOf", ()) if o.get("type") != "null"]:
        nullable = len(options) < len(schema["anyOf"])
        found = wanted(options[0])
        return "JSON" if len(options) > 1 or (nullable and isinstance(found, tuple)) else found
    if schema["type"] == "array":
        items = schema["items"]
        return "JSON" if "anyOf" in items or ("$ref" not in items and items["type"] == "object") else (wanted(items),)
    if schema["type"] == "object":
        fixed = "title" in schema and "properties" in schema
        return {name: wanted(field) for name, field in schema["properties"].items()} if fixed else "JSON"
    return NAMES[schema["type"]]


def declared() -> Type:
    """The columns of the DDL."""
    text = re.sub(r"--.*", "", DDL)
    columns = text[text.index("(") + 1 : text.index("OPTIONS")].strip().removesuffix(")")
    tokens = re.findall(r"[\w]+|[<>,]", columns)
    found = _fields(tokens)
    assert tokens == []
    return found


def _fields(tokens: list[str]) -> dict[str, Type]:
    fields: dict[str, Type] = {}
    while tokens and tokens[0] != ">":
        name = tokens.pop(0)
        fields[name] = _type(tokens)
        if tokens and tokens[0] == ",":
            tokens.pop(0)
    return fields


def _type(tokens: list[str]) -> Type:
    name = tokens.pop(0)
    if name not in ("ARRAY", "STRUCT"):
        return name
    assert tokens.pop(0) == "<"
    inside: Type = (_type(tokens),) if name == "ARRAY" else _fields(tokens)
    assert tokens.pop(0) == ">"
    return inside


def loads(value: Any, kind: Type) -> bool:
    """Whether BigQuery takes the value: no null in an ARRAY or in place of one, no fraction in an INT64."""
    match kind:
        case "JSON":
            return True
        case (inner,):
            return isinstance(value, list) and all(v is not None and loads(v, inner) for v in value)  # pyright: ignore[reportUnknownVariableType]
        case dict():
            return value is None or all(loads(v, kind[name]) for name, v in value.items())
        case "FLOAT64":
            return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        case _:
            python = {"STRING": str, "INT64": int, "BOOL": bool}[str(kind)]
            return value is None or type(value) is python


def test_every_field_of_the_schema_is_a_column_of_its_type_and_nothing_else_is() -> None:
    assert declared() == wanted(SCHEMA)


def test_names_stand_in_the_order_in_which_they_are_stored() -> None:
    columns = declared()
    assert isinstance(columns, dict)
    assert list(columns) == list(SCHEMA["properties"])


def test_a_real_transcript_loads_as_it_is() -> None:
    data = TRANSCRIPT.read_bytes()
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert loads(json.loads(data), declared())


def test_a_null_in_an_array_would_be_noticed() -> None:
    assert not loads({"unknown": [None]}, {"unknown": ("STRING",)})
    assert not loads({"unknown": None}, {"unknown": ("STRING",)})
    assert not loads({"epoch": 1.5}, {"epoch": "INT64"})


def test_the_table_reads_only_transcripts() -> None:
    assert "'gs://BUCKET/threads/*'" in DDL
    assert "'NEWLINE_DELIMITED_JSON'" in DDL
    assert DDL.count("BUCKET'") == 0
    assert len(re.findall(r"gs://BUCKET", DDL)) == 1


# ---- jq


def jq(options: str, program: str) -> list[str]:
    """What README's program prints of two transcripts one after the other, as `gcloud storage cat` gives them."""
    if not (found := shutil.which("jq")):
        pytest.skip("jq is not on this machine: apt-get install jq")
    data = TRANSCRIPT.read_text() * 2
    command = [found, *options.split(), program]
    done = subprocess.run(command, input=data, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603 - README's own
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_readme_has_programs_for_what_people_ask() -> None:
    assert len(PROGRAMS) == 4


def test_who_said_what_and_what_was_answered() -> None:
    lines = jq(*PROGRAMS[0])
    turns = json.loads(TRANSCRIPT.read_text())["turns"]
    said = [m["user"] for t in turns for m in t["messages"]]
    assert [line.split(":")[0] for line in lines if line.startswith(("U", "B"))] == said * 2
    assert sum(line.startswith("agent: ") for line in lines) == 2 * sum(bool(t["reply"]) for t in turns)


def test_how_each_turn_ended() -> None:
    turns = json.loads(TRANSCRIPT.read_text())["turns"]
    lines = [line.split("\t") for line in jq(*PROGRAMS[1])]
    assert [line[:3] for line in lines] == [[t["id"], t["state"], t["outcome"] or "-"] for t in turns] * 2


def test_which_tools_were_called_and_which_of_them_nobody_knows_of() -> None:
    turns = json.loads(TRANSCRIPT.read_text())["turns"]
    calls = [
        [t["id"], p["tool_name"], "UNKNOWN" if p["tool_call_id"] in t["unknown"] else ""]
        for t in turns
        for s in t["steps"]
        for p in s["parts"]
        if p["part_kind"] == "tool-call"
    ]
    assert calls
    assert any(call[2] for call in calls)
    assert [line.split("\t") for line in jq(*PROGRAMS[2])] == calls * 2


def test_the_thread_of_any_message_of_it() -> None:
    options, program = PROGRAMS[3]
    whole = json.loads(TRANSCRIPT.read_text())
    ours = next(slot for t in whole["turns"] for slot in t["slots"] or () if slot)
    theirs = whole["turns"][-1]["messages"][0]["ts"]
    key = f"{whole['team']}/{whole['channel']}/{whole['thread_ts']}"
    for ts in (ours, theirs):
        assert jq(options, program.replace("1715000050.000200", ts)) == [key, key]
    assert jq(options, program) == []
