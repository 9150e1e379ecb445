"""The bases, made once a worker."""

from pathlib import Path

import pytest
from bases import FAMILIES, write_base
from road import walk


@pytest.fixture(scope="session", params=FAMILIES)
def base(request, tmp_path_factory) -> Path:
    """A base of each family, in the hub's files."""
    return write_base(tmp_path_factory.mktemp("bases") / request.param, request.param)


@pytest.fixture(scope="module")
def walked(request, tmp_path_factory):
    """(base, project folder, finished `forge run vast-16gb`) of the module's FAMILY."""
    family = request.module.FAMILY
    base = write_base(tmp_path_factory.mktemp("bases") / family, family)
    return base, *walk(base, tmp_path_factory.mktemp("road"))


@pytest.fixture(scope="module")
def home(walked) -> Path:
    """The project folder in which the module's FAMILY walked the road."""
    return walked[1]
