"""SmolVLM v1 from `forge run` to a merged model; the rest is tested with the embedded base, which has its classes."""

import pytest
from bases import write_base
from road import check_course, check_merged, walk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_base(tmp_path_factory.mktemp("bases") / "idefics3", "idefics3")


@pytest.fixture(scope="module")
def road(base, tmp_path_factory):
    """(project folder, finished `forge run vast-16gb`)."""
    return walk(base, tmp_path_factory.mktemp("road"))


def test_five_lessons_end_with_two_adapters_and_a_report(road):
    check_course(*road)


def test_merged_and_adapter_open_with_plain_libraries(road, base, tmp_path):
    check_merged(road[0], base, tmp_path)
