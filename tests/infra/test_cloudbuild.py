"""cloudbuild.yaml: both validators take it, and its scripts do what its head promises, in this order."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cloud_sdk import lint, parse_cloudbuild
from replay import BUILD_ID, CLOUDBUILD, COMMIT, ROOT, Build, cloudbuild, flags

from spool.errors import Misconfigured
from spool.settings import CALLERS, QUEUE, STORES, TARGET, Settings

SERVICES = ("spool-worker", "spool-ingress")
NOT_HERE = ("check", "stage")
SECRETS = {"spool-slack-signing-secret": "3", "spool-slack-bot-token": "1", "spool-model-key": "12"}
NEEDS = {
    "spool-ingress": (("SLACK_SIGNING_SECRET",), QUEUE + TARGET),
    "spool-worker": (("SLACK_BOT_TOKEN",), STORES + QUEUE + TARGET + CALLERS),
}
"""What each door asks `Settings.read` for: a test below compares it with the door."""

OPTIONAL = {"spool-ingress": {"SPOOL_LOG_CONTENT"}, "spool-worker": {"SPOOL_LOG_CONTENT", "SPOOL_DATABASE", "SPOOL_MODEL"}}
OTHERS = {"GOOGLE_CLOUD_LOCATION": "the client of models google-cloud:", "ANTHROPIC_API_KEY": "the model's client"}
"""Variables that Spool's settings do not read, and who does."""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A build whose `check` and `stage` are done: every secret has a version."""
    return made(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A whole build of staging, to look at."""
    build = made(tmp_path_factory.mktemp("done"))
    assert build.run(*NOT_HERE) == "", build.errors
    return build


def made(folder: Path, *, commit: str = COMMIT, build_id: str = BUILD_ID, **substitutions: str) -> Build:
    build = Build(folder, commit=commit, build_id=build_id, substitutions=substitutions)
    staged = build.workspace / "build"
    staged.mkdir(exist_ok=True)
    (staged / "stage.json").write_text(json.dumps({"ingress": "a" * 64, "worker": "b" * 64}))
    (staged / "ingress.secrets").write_text("SLACK_SIGNING_SECRET spool-slack-signing-secret\n")
    (staged / "worker.secrets").write_text("SLACK_BOT_TOKEN spool-slack-bot-token\nANTHROPIC_API_KEY spool-model-key\n")
    for secret, version in SECRETS.items():
        build.has_version(secret, version)
    return build


# ---- the file


def schema_says(path: Path) -> str:
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.cloudbuild", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_published_schema_takes_it() -> None:
    assert schema_says(CLOUDBUILD) == ""


def test_gclouds_own_parser_takes_it() -> None:
    assert parse_cloudbuild(CLOUDBUILD) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("- id: pin", "- idd: pin"), ("    script: |", "    scripts: |"), ("  logging: CLOUD", "  logs: CLOUD")],
)
def test_both_validators_notice_a_misspelled_word(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in CLOUDBUILD.read_text()
    (tmp_path / "cloudbuild.yaml").write_text(CLOUDBUILD.read_text().replace(right, wrong))
    assert schema_says(tmp_path / "cloudbuild.yaml")
    assert parse_cloudbuild(tmp_path / "cloudbuild.yaml")


def test_every_substitution_has_a_default_and_is_used() -> None:
    scripts = "".join(step["script"] for step in cloudbuild()["steps"])
    assert set(re.findall(r"\$\{?(_[A-Z_]+)", scripts)) == set(cloudbuild()["substitutions"])


def test_every_script_stops_at_its_first_error() -> None:
    for step in cloudbuild()["steps"]:
        assert step["script"].startswith("#!/usr/bin/env bash\nset -euo pipefail\n"), step["id"]


def test_builds_and_readme_use_the_same_uv() -> None:
    versions = [re.findall(r"uv==([\d.]+)", (ROOT / name).read_text()) for name in ("README.md", "cloudbuild.yaml")]
    assert len({version for found in versions for version in found}) == 1


def test_checks_run_on_the_python_that_is_deployed() -> None:
    images = {step["name"] for step in cloudbuild()["steps"] if step["name"].startswith("python:")}
    bases = set(re.findall(r"--base-image=(\S+)", CLOUDBUILD.read_text()))
    assert {re.sub(r"[:.]", "", image) for image in images} == bases == {"python313"}


# ---- a whole build


def test_every_gcloud_command_of_a_build_is_right_for_gclouds_own_linter(tmp_path: Path) -> None:
    """As they were run, with every variable filled in: staging once, and production after it."""
    staging, production = made(tmp_path, _RELEASES="releases"), made(tmp_path, _RELEASES="releases", _ENVIRONMENT="production")
    assert staging.run(*NOT_HERE) == "", staging.errors
    assert production.run(*NOT_HERE) == "", production.errors
    commands = [shlex.join(call) for call in production.calls]
    taken_back = [line.removeprefix("To take it back: ") for line in production.output.splitlines() if "take it back" in line]
    assert len(taken_back) == len(SERVICES)
    assert lint([*commands, *taken_back]) == {}


def test_a_wrong_flag_in_a_build_is_noticed(done: Build) -> None:
    commands = [shlex.join(call) for call in done.calls if call[1:3] == ["run", "deploy"]]
    wrong = [command.replace("--no-traffic", "--no-trafic") for command in commands]
    assert list(lint([*commands, *wrong])) == wrong
    assert lint([f"{commands[0]} --command=x"]), "--function and --command exclude each other"


@pytest.mark.parametrize("service", SERVICES)
def test_a_revision_gets_traffic_only_after_its_smoke_test(done: Build, service: str) -> None:
    steps = [step["id"] for step in cloudbuild()["steps"]]
    name = service.removeprefix("spool-")
    assert steps.index(f"deploy-{name}") < steps.index(f"smoke-{name}") < steps.index(f"promote-{name}")
    assert "--no-traffic" in done.deploy(service)
    (promotion,) = [call for call in done.calls if call[1:5] == ["run", "services", "update-traffic", service]]
    assert f"--to-revisions={service}-0123456-5f6e7d8c=100" in promotion
    assert "--revision-suffix=0123456-5f6e7d8c" in done.deploy(service)


def test_the_worker_has_traffic_before_the_ingress_is_deployed() -> None:
    """It must understand whatever the ingress queues."""
    steps = [step["id"] for step in cloudbuild()["steps"]]
    assert steps.index("promote-worker") < steps.index("deploy-ingress")


@pytest.mark.parametrize("step", ["smoke-worker", "smoke-ingress"])
def test_where_the_smoke_test_fails_nothing_is_promoted(build: Build, step: str) -> None:
    for name in [s["id"] for s in cloudbuild()["steps"] if s["id"] not in NOT_HERE]:
        if name == step:
            (build.workspace / ".uv/bin/uv").write_text("#!/bin/sh\nexit 1\n")
        if not build.step(name):
            break
    promoted = [call[4] for call in build.calls if "update-traffic" in call]
    assert promoted == (["spool-worker"] if step == "smoke-ingress" else [])


def test_the_smoke_tests_go_to_the_new_revisions_and_at_last_to_the_real_url(done: Build) -> None:
    assert "SPOOL_WORKER_URL=https://b-5f6e7d8c---spool-worker-abc-ew.a.run.app\n" in done.uv
    commands = [line for line in done.uv.splitlines() if line.startswith("run spool smoke ingress")]
    revision = "--revision=spool-ingress-0123456-5f6e7d8c"
    assert commands == [
        f"run spool smoke ingress https://b-5f6e7d8c---spool-ingress-abc-ew.a.run.app {revision}",
        f"run spool smoke ingress https://spool-ingress-abc-ew.a.run.app {revision}",
    ]
    assert done.uv.count("SLACK_SIGNING_SECRET=spool-slack-signing-secret 3\n") == 2, "the version that is deployed"


def test_the_signing_secret_does_not_outlive_the_smoke_tests(done: Build) -> None:
    assert not (done.workspace / "build/signing-secret").exists()


def test_both_functions_are_deployed_from_their_staged_folders(done: Build) -> None:
    for service in SERVICES:
        name = service.removeprefix("spool-")
        assert {f"--source=build/{name}", f"--function={name}"} <= set(done.deploy(service))


def test_secrets_are_pinned_to_their_newest_enabled_version(done: Build) -> None:
    assert done.environment_of("spool-ingress")["SLACK_SIGNING_SECRET"] == "spool-slack-signing-secret:3"
    assert done.environment_of("spool-worker")["ANTHROPIC_API_KEY"] == "spool-model-key:12"
    asked = next(call for call in done.calls if call[1:4] == ["secrets", "versions", "list"])
    assert {"--filter=state=ENABLED", "--sort-by=~createTime", "--limit=1"} <= set(asked)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_without_a_version_stops_the_build_and_says_how_to_add_one(build: Build, secret: str) -> None:
    build.has_version(secret, "")
    assert build.run(*NOT_HERE) == "pin"
    (advice,) = re.findall(r"gcloud secrets versions add .*", build.errors)
    assert secret in advice
    assert lint([advice]) == {}


# ---- by hand, and again


def test_a_build_by_hand_has_no_commit_and_deploys(tmp_path: Path) -> None:
    build = made(tmp_path, commit="", _RELEASES="releases")
    assert build.run(*NOT_HERE) == "", build.errors
    assert "--revision-suffix=manual-5f6e7d8c" in build.deploy("spool-worker")
    assert not (tmp_path / "gs").exists()
    assert "Not recorded" in build.output


def test_the_same_commit_can_be_built_again(tmp_path: Path) -> None:
    for n in (1, 2):
        build = made(tmp_path, build_id=f"{n}aaaaaaa-1111", _RELEASES="releases")
        assert [build.step(name) for name in ("pin", "deploy-worker", "record")] == [True, True, True], build.errors
    suffixes = {word for call in build.calls for word in call if word.startswith("--revision-suffix=")}
    assert len(suffixes) == 2


@pytest.mark.parametrize("commit", ["", COMMIT])
def test_the_name_of_a_revision_is_one_that_cloud_run_takes(tmp_path: Path, commit: str) -> None:
    build = made(tmp_path, commit=commit)
    assert build.step("pin"), build.errors
    suffix = (build.workspace / "build/suffix").read_text().strip()
    for service in SERVICES:
        assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", f"{service}-{suffix}")


# ---- production deploys what staging ran


def released(folder: Path, *, commit: str = COMMIT) -> Build:
    """Production's build of `commit`, after staging ran and recorded COMMIT."""
    assert made(folder, _RELEASES="releases").step("record")
    (folder / "calls").unlink()
    return made(folder, commit=commit, _RELEASES="releases", _ENVIRONMENT="production")


def test_production_deploys_what_staging_ran(tmp_path: Path) -> None:
    build = released(tmp_path)
    assert build.step("same-as-staging"), build.errors


def test_production_refuses_other_bytes_of_the_same_commit(tmp_path: Path) -> None:
    build = released(tmp_path)
    (build.workspace / "build/stage.json").write_text("{}")
    assert build.run(*NOT_HERE) == "same-as-staging"
    assert f"this is not what staging ran as {COMMIT}" in build.errors
    assert not [call for call in build.calls if "deploy" in call]


def test_production_refuses_a_commit_that_staging_has_not_run(tmp_path: Path) -> None:
    build = released(tmp_path, commit="f" * 40)
    assert build.run(*NOT_HERE) == "same-as-staging"
    assert "deploy it there first" in build.errors


def test_production_refuses_a_build_that_names_no_commit(tmp_path: Path) -> None:
    build = released(tmp_path, commit="")
    assert build.run(*NOT_HERE) == "same-as-staging"
    assert "start the trigger" in build.errors


def test_a_production_without_a_staging_is_not_held_back(tmp_path: Path) -> None:
    build = made(tmp_path, _ENVIRONMENT="production")
    assert build.step("same-as-staging"), build.errors
    assert build.calls == []


def test_staging_never_overwrites_what_it_recorded(tmp_path: Path) -> None:
    assert made(tmp_path, _RELEASES="releases").step("record")
    record = tmp_path / "gs" / "releases" / f"{COMMIT}.json"
    before = record.read_text()
    again = made(tmp_path, _RELEASES="releases")
    (again.workspace / "build/stage.json").write_text("{}")
    assert not again.step("record")
    assert "something else" in again.errors
    assert record.read_text() == before


def test_production_records_nothing(tmp_path: Path) -> None:
    build = released(tmp_path)
    assert build.step("record")
    assert build.calls == []


# ---- the environment: settings, cloudbuild.yaml and Terraform


def settings_names() -> set[str]:
    """Every variable that settings.py reads."""
    return set(re.findall(r"environ(?:\.get\(|, )\"([A-Z_]+)\"", (ROOT / "functions/spool/settings.py").read_text()))


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_is_told_is_what_its_door_asks_for(service: str) -> None:
    door = (ROOT / "functions" / f"{service.removeprefix('spool-')}.py").read_text()
    need, google = NEEDS[service]
    (call,) = re.findall(r"Settings\.read\(need=\((.*?)\), google=(.*?)\)\n", door)
    names = {"QUEUE": QUEUE, "TARGET": TARGET, "STORES": STORES, "CALLERS": CALLERS}
    assert tuple(re.findall(r'"(\w+)"', call[0])) == need
    assert [name for part in call[1].split(" + ") for name in names[part]] == list(google)


@pytest.mark.parametrize("service", SERVICES)
def test_a_deployed_service_reads_all_its_settings_and_is_told_nothing_else(done: Build, service: str) -> None:
    told = done.environment_of(service)
    need, google = NEEDS[service]
    required = {*need, *google}
    assert set(told) == required | OPTIONAL[service] | (set(OTHERS) if service == "spool-worker" else set())
    assert set(told) - set(OTHERS) <= settings_names()
    cloud = {**told, "K_SERVICE": service, "K_REVISION": f"{service}-x"}
    settings = Settings.read(cloud, need=need, google=google)
    assert settings.google
    assert settings.google.bucket in ("team-spool-spool", "")
    for name in required:
        with pytest.raises(Misconfigured, match=name):
            Settings.read({**cloud, name: ""}, need=need, google=google)


@pytest.mark.parametrize("service", SERVICES)
def test_terraform_begins_with_the_same_environment(done: Build, service: str) -> None:
    """Of which it lets go afterwards; a service that only Terraform has made must not differ in kind."""
    name = service.removeprefix("spool-")
    terraform = (ROOT / "infra/services.tf").read_text()
    (block,) = re.findall(rf"^  {name}_environment = (.*?^  }}\)?)$", terraform, re.DOTALL | re.MULTILINE)
    (base,) = re.findall(r"^  ingress_environment = (.*?^  })$", terraform, re.DOTALL | re.MULTILINE)
    names = set(re.findall(r"^    ([A-Z_]+) +=", block, re.MULTILINE))
    if "local.ingress_environment" in block:
        names |= set(re.findall(r"^    ([A-Z_]+) +=", base, re.MULTILINE))
    plain = {name for name, value in done.environment_of(service).items() if not re.search(r"^spool-[a-z-]+:\d+$", value)}
    assert plain == names


def test_the_triggers_give_every_substitution_and_no_other() -> None:
    (block,) = re.findall(r"^  substitutions = {(.*?)^  }", (ROOT / "infra/build.tf").read_text(), re.DOTALL | re.MULTILINE)
    assert set(re.findall(r"^    (_[A-Z_]+) +=", block, re.MULTILINE)) == set(cloudbuild()["substitutions"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_deploy_leaves_alone_what_terraform_owns(done: Build, service: str) -> None:
    owned = (
        r"--(min|min-instances|ingress|(no-)?allow-unauthenticated|(add|set|remove|clear)-custom-audiences"
        r"|(no-)?invoker-iam-check)(=|$)"
    )
    assert re.match(owned, "--no-invoker-iam-check")
    assert not [word for word in done.deploy(service) if re.match(owned, word)]


@pytest.mark.parametrize("service", SERVICES)
def test_a_deploy_and_terraform_agree_on_the_size_of_a_service(done: Build, service: str) -> None:
    blocks = (ROOT / "infra/services.tf").read_text().split('resource "google_cloud_run_v2_service" ')
    (block,) = [b for b in blocks if f'name        = "{service}"' in b]
    told = flags(done.deploy(service))
    assert re.findall(r'memory = "(\w+)"', block) == [told["memory"]]
    assert re.findall(r'cpu = "(\d)"', block) == [told["cpu"]]
    assert re.findall(r'timeout +=? ?"(\d+)s"', block) == [told["timeout"]]


def test_yaml_reads_each_default_as_text() -> None:
    """Cloud Build takes strings only: an unquoted number or false is refused when the build starts."""
    assert all(isinstance(value, str) for value in yaml.safe_load(CLOUDBUILD.read_text())["substitutions"].values())
