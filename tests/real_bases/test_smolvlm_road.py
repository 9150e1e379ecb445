"""SmolVLM v1 from `forge run` to a merged model; the rest is tested with the embedded base, which has its classes."""

import pytest
from road import check_course, check_merged

pytestmark = pytest.mark.slow
FAMILY = "idefics3"


def test_five_lessons_end_with_two_adapters_and_a_report(walked):
    check_course(*walked[1:])


def test_merged_and_adapter_open_with_plain_libraries(home, walked, tmp_path):
    check_merged(home, walked[0], tmp_path)
