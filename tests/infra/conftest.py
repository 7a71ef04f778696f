"""infra/ as it is, a copy to break, and what would be built of it in either environment."""

from pathlib import Path

import pytest
from planning import Plan, Workspace, make_workspace


@pytest.fixture(scope="session")
def infra(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """As it is."""
    return make_workspace(tmp_path_factory.mktemp("infra"))


@pytest.fixture
def broken(tmp_path: Path) -> Workspace:
    """To plant an error in."""
    return make_workspace(tmp_path)


@pytest.fixture(scope="session")
def plans(infra: Workspace) -> dict[str, Plan]:
    return {environment: infra.plan(environment) for environment in ("staging", "production")}


@pytest.fixture(params=["staging", "production"])
def plan(request: pytest.FixtureRequest, plans: dict[str, Plan]) -> Plan:
    return plans[request.param]
