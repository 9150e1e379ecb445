"""The host that tests of the remote part reach."""

import pytest
from loopback import Loopback, missing_programs


@pytest.fixture
def loopback(tmp_path_factory):
    if missing := missing_programs():
        pytest.skip(f"not installed: {', '.join(missing)}")
    host = Loopback(tmp_path_factory.mktemp("host"))
    try:
        host.start()
        yield host
    finally:
        host.close()
