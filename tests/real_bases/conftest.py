"""The bases, made once a worker."""

from pathlib import Path

import pytest
from bases import FAMILIES, write_base


@pytest.fixture(scope="session", params=FAMILIES)
def base(request, tmp_path_factory) -> Path:
    """A base of each family, in the hub's files."""
    return write_base(tmp_path_factory.mktemp("bases") / request.param, request.param)
