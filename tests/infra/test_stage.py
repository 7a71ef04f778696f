"""`spool stage`: the folders that are deployed, what is in them, and that they run as they are."""

import asyncio
import contextlib
import http.server
import io
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import replay
from built import Built, ask, build, free_port

from emulated import Place
from spool.cli import main
from spool.cli.deploy import smoke
from spool.cli.deploy.stage import ROOT, TFVARS, digest, read_policy, stage, tfvars, uv
from spool.console.server import serve
from spool.console.workspace import Workspace
from spool.errors import Misconfigured

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
FUNCTIONS = ("ingress", "worker")
HEAVY = ("pydantic-ai-slim", "pydantic", "openai", "anthropic", "google-genai", "slack-sdk", "aiohttp", "google-cloud-storage")


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("staged")
    stage(ROOT, out, model_key="ANTHROPIC_API_KEY")
    return out


@pytest.fixture(scope="session")
def ingress(staged: Path) -> Built:
    return _built("ingress", staged)


@pytest.fixture(scope="session")
def worker(staged: Path) -> Built:
    return _built("worker", staged)


def _built(name: str, staged: Path) -> Built:
    """Of a copy: what is started writes beside its sources."""
    shutil.copytree(staged / name, staged / f"{name}.built")
    return build(name, staged / f"{name}.built", staged / f"{name}.venv")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of this project, to be edited as its user would."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("pyproject.toml", "uv.lock", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, root / name)
    shutil.copytree(ROOT / "functions", root / "functions", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def with_policy(project: Path, text: str) -> Path:
    (project / "functions/policy.py").write_text(f"from spool.policy import Policy\n\n{text}\n")
    return project


# ---- the folders


def test_the_same_project_gives_the_same_bytes(staged: Path, tmp_path: Path) -> None:
    again = stage(ROOT, tmp_path, model_key="ANTHROPIC_API_KEY")
    assert json.loads((staged / "stage.json").read_text()) == again
    assert (staged / "stage.json").read_bytes() == (tmp_path / "stage.json").read_bytes()


def test_staging_again_leaves_nothing_of_before(project: Path, tmp_path: Path) -> None:
    (project / "functions/agent/old.py").write_text("")
    before = stage(project, tmp_path / "out")
    (project / "functions/agent/old.py").unlink()
    after = stage(project, tmp_path / "out")
    assert before["worker"] != after["worker"]
    assert before["ingress"] == after["ingress"]
    assert not (tmp_path / "out/worker/agent/old.py").exists()


def test_the_hash_is_one_that_a_shell_can_print(staged: Path) -> None:
    command = "find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    for name in FUNCTIONS:
        printed = subprocess.run(["bash", "-c", command], cwd=staged / name, capture_output=True, text=True, check=True)  # noqa: S603, S607
        assert printed.stdout.split()[0] == digest(staged / name)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_door_is_where_the_buildpack_looks_for_it(staged: Path, name: str) -> None:
    assert (staged / name / "main.py").read_bytes() == (ROOT / f"functions/{name}.py").read_bytes()


def test_only_the_worker_carries_the_agent_with_its_texts(staged: Path) -> None:
    assert {path.name for path in (staged / "worker/agent").iterdir()} >= {"__init__.py", "instructions.md", "tools.py"}
    assert not (staged / "ingress/agent").exists()


def test_what_only_this_machine_knows_is_left_out(project: Path, tmp_path: Path) -> None:
    stage(project, tmp_path / "clean")
    for junk in ("agent/.env", "agent/__pycache__/x.pyc", "spool/.DS_Store"):
        (project / "functions" / junk).parent.mkdir(exist_ok=True)
        (project / "functions" / junk).write_text("")
    stage(project, tmp_path / "out")
    assert digest(tmp_path / "out/worker") == digest(tmp_path / "clean/worker")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_requirement_is_pinned_and_has_hashes(staged: Path, name: str) -> None:
    requirements = re.split(r"\n(?=\S)", (staged / name / "requirements.txt").read_text().strip())
    assert not [r for r in requirements if not re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+ .*--hash=sha256:", r, re.DOTALL)]
    assert [r for r in requirements if r.startswith("functions-framework==")], "else the buildpack takes one of its own"


def test_a_folder_that_somebody_else_made_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker/mine.txt").write_text("precious")
    with pytest.raises(Misconfigured, match="name another folder"):
        stage(ROOT, tmp_path)
    assert (tmp_path / "worker/mine.txt").read_text() == "precious"


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["stage", str(tmp_path)])
    assert end.value.code == 0
    digests = json.loads((tmp_path / "stage.json").read_text())
    assert capsys.readouterr().out.splitlines() == [f"{digests[name]}  {tmp_path / name}" for name in FUNCTIONS]


def test_the_command_wants_to_know_where_to(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["stage"])
    assert end.value.code == 2
    assert "spool stage build" in capsys.readouterr().err


# ---- what a tool needs


def test_one_more_package_and_one_more_secret_reach_what_is_deployed(project: Path, tmp_path: Path) -> None:
    """By editing the two places that are the user's, and locking: no Terraform, no cloudbuild.yaml."""
    with_policy(project, 'policy = Policy(secrets=("CRM_API_KEY",))')
    pyproject = (project / "pyproject.toml").read_text()
    assert "\nagent = []\n" in pyproject
    (project / "pyproject.toml").write_text(pyproject.replace("\nagent = []\n", '\nagent = ["humanize==4.15.0"]\n'))
    subprocess.run([uv(), "lock", "--quiet"], cwd=project, check=True, capture_output=True)  # noqa: S603
    built = replay.Build(tmp_path)
    stage(project, built.workspace / "build", model_key="ANTHROPIC_API_KEY")
    for secret in ("slack-signing-secret", "slack-bot-token", "model-key", "crm-api-key"):
        built.has_version(f"spool-{secret}", "7")
    assert built.run("check", "stage") == "", built.errors
    assert "\nhumanize==4.15.0 " in (built.workspace / "build/worker/requirements.txt").read_text()
    assert "humanize" not in (built.workspace / "build/ingress/requirements.txt").read_text()
    assert built.environment_of("spool-worker")["CRM_API_KEY"] == "spool-crm-api-key:7"
    assert "CRM_API_KEY" not in built.environment_of("spool-ingress")
    assert json.loads(tfvars(project)) == {"secrets": {"CRM_API_KEY": "spool-crm-api-key"}}


def test_terraform_knows_the_secrets_of_the_policy() -> None:
    assert (ROOT / TFVARS).read_text() == tfvars(ROOT), "renew it: spool stage --infra"


@pytest.mark.parametrize(
    "name", ["crm-key", "crm", "1KEY", "SPOOL_BUCKET", "SLACK_BOT_TOKEN", "MODEL_KEY", "PATH", "K_SERVICE", ""]
)
def test_a_secret_that_cannot_be_a_variable_of_its_own_is_named(project: Path, tmp_path: Path, name: str) -> None:
    with_policy(project, f"policy = Policy(secrets=({name!r},))")
    with pytest.raises(Misconfigured, match=f"the secret '{name}'"):
        stage(project, tmp_path / "out")


def test_the_models_key_cannot_be_a_secret_of_the_policy_as_well(project: Path, tmp_path: Path) -> None:
    with_policy(project, 'policy = Policy(secrets=("OPENAI_API_KEY",))')
    with pytest.raises(Misconfigured, match="take it out"):
        stage(project, tmp_path / "out", model_key="OPENAI_API_KEY")


@pytest.mark.parametrize("text", ["policy = 1", "1/0", "policy ="])
def test_a_broken_policy_is_named(project: Path, text: str) -> None:
    with pytest.raises(Misconfigured, match=r"policy\.py"):
        read_policy(with_policy(project, text) / "functions")


# ---- the folders at work


def test_the_ingress_is_built_without_a_model_library_and_without_aiohttp(ingress: Built) -> None:
    assert {"functions-framework", "google-cloud-tasks", "starlette"} <= ingress.distributions
    assert ingress.distributions.isdisjoint(HEAVY)


def test_the_worker_is_built_with_what_a_turn_needs(worker: Built) -> None:
    assert {"functions-framework", "pydantic-ai-slim", "slack-sdk", "aiohttp", "google-cloud-firestore"} <= worker.distributions
    assert worker.distributions.isdisjoint({"typer", "pytest", "ruff"})


def test_the_built_worker_names_its_revision_and_refuses_strangers(worker: Built, place: Place) -> None:
    with worker.serving(**place.environment, SLACK_BOT_TOKEN="xoxb-none") as url:
        assert ask(f"{url}/health") == (200, "ok spool-worker-test")
        for path in ("/task", "/smoke", "/sweep"):
            assert ask(f"{url}{path}", b"{}")[0] == 403
            assert ask(f"{url}{path}", b"{}", {"Authorization": "Bearer forged"})[0] == 403


async def test_the_built_functions_pass_the_smoke_tests_of_a_deployment(
    ingress: Built, worker: Built, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of cloudbuild.yaml, against both folders as they are deployed: queue, bucket and documents of the
    emulators, a Slack of this machine, in which nothing shows."""
    slack = Workspace(tmp_path / "slack")
    port = str(free_port())
    async with serve(slack) as slack_port:
        given = {**place.environment, "SPOOL_WORKER_URL": f"http://127.0.0.1:{port}", "SLACK_SIGNING_SECRET": SECRET}
        own = {"SLACK_API_URL": f"http://127.0.0.1:{slack_port}/api/", "SLACK_BOT_TOKEN": slack.installation.token}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with worker.serving(**given, **own, PORT=port), ingress.serving(**given) as url:
            tested = await asyncio.to_thread(command, "smoke", "worker", "--looks", "60")
            assert "a task was answered with 200" in tested, worker.log
            tested = await asyncio.to_thread(command, "smoke", "ingress", url, "--revision", "spool-ingress-test")
            assert "spool-ingress-test answers; signatures are checked; a signed event is queued" in tested, ingress.log
            await asyncio.to_thread(idle, place)
        assert not [m for channel in ("C0GENERAL", "C0SMOKE") for m in slack.messages(channel) if m.get("bot_id")]


@pytest.mark.parametrize(
    "broken",
    [("SLACK_BOT_TOKEN", "xoxb-revoked", "check SLACK_BOT_TOKEN"), ("SPOOL_BUCKET", "nobodys", "the bucket nobodys")],
    ids=["Slack's token", "the bucket"],
)
async def test_a_worker_that_cannot_answer_fails_its_smoke_test_and_leaves_no_task(
    worker: Built, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: tuple[str, str, str]
) -> None:
    variable, wrong, sentence = broken
    slack = Workspace(tmp_path / "slack")
    port = str(free_port())
    async with serve(slack) as slack_port:
        given = {**place.environment, "SPOOL_WORKER_URL": f"http://127.0.0.1:{port}"}
        own = {"SLACK_API_URL": f"http://127.0.0.1:{slack_port}/api/", "SLACK_BOT_TOKEN": slack.installation.token}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with worker.serving(**{**given, **own, "PORT": port, variable: wrong}):
            tested = await asyncio.to_thread(command, "smoke", "worker", "--looks", "3")
        assert "did not answer its smoke test with 200" in tested
        assert sentence in worker.log
        await asyncio.to_thread(idle, place)


def test_an_ingress_that_cannot_queue_or_knows_another_secret_fails_its_smoke_test(
    ingress: Built, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "LOOKS", 1)
    given = {**place.environment, "SPOOL_WORKER_URL": "http://127.0.0.1:9", "SLACK_SIGNING_SECRET": SECRET}
    with ingress.serving(**{**given, "SPOOL_QUEUE": "nobodys"}) as url:
        monkeypatch.setenv("SLACK_SIGNING_SECRET", SECRET)
        assert "a signed event got 503, not 200; it cannot create a task" in command("smoke", "ingress", url)
        assert "/health says '200 ok spool-ingress-test', not other" in command("smoke", "ingress", url, "--revision", "other")
        monkeypatch.setenv("SLACK_SIGNING_SECRET", "another")
        assert "a signed challenge got 401" in command("smoke", "ingress", url)


class Credulous(http.server.BaseHTTPRequestHandler):
    """An ingress that checks no signature."""

    def do_GET(self) -> None:
        self._say(b"ok")

    def do_POST(self) -> None:
        self._say(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        del format, args

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)


def test_an_ingress_that_takes_forged_requests_fails_its_smoke_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_SIGNING_SECRET", SECRET)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Credulous) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        said = command("smoke", "ingress", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
    assert "a forged request got 200, not 401; do not give it traffic" in said


def test_on_this_machine_there_is_no_smoke_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOL_BACKEND", "local")
    assert "`spool ask` is the smoke test" in command("smoke", "worker")


def idle(place: Place) -> None:
    """Until the queue has nothing left: the worker took the event as well."""
    queue = f"projects/{place.project}/locations/{place.location}/queues/{place.queue}"
    assert ask(f"http://{place.emulators.tasks}/emulator/{queue}:waitIdle")[0] == 204


def command(*words: str) -> str:
    """What the command says, on either channel."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        main(list(words))
    return said.getvalue()
