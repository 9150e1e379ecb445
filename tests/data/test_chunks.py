"""Chunks of a raw file hold each row once, in order, however the file is cut into blocks."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.data import chunks

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(rows=st.lists(VALUES, max_size=12), block=st.integers(1, 40), size=st.integers(1, 5), spread=st.booleans())
def test_every_row_comes_once_in_order(tmp_path_factory, rows, block, size, spread):
    path = tmp_path_factory.mktemp("raw") / "rows.json"
    path.write_text(json.dumps(rows, indent=1 if spread else None, ensure_ascii=not spread).encode().decode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "_BLOCK", block)
        patch.setattr(chunks, "ROWS", size)
        found = list(chunks.chunks(path))
    assert [row for chunk in found for row in chunks.read(chunk)] == rows
    assert [chunk.first for chunk in found] == list(range(0, len(rows), size))
    assert all(chunk.count == size for chunk in found[:-1])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it does not begin with [, at byte 0"),
        ('{"a": []}', "it does not begin with [, at byte 0"),
        ("[1, 2", "after row 1 comes neither a comma nor the end, at byte 5"),
        ('[{"a": 1}, {"a": "cut', "row 1 is broken or cut off (Unterminated string starting at), at byte 11"),
        ('[{"a": 1}, ', "row 1 is broken or cut off (Expecting value), at byte 11"),
        ("[1] [2]", "something follows the list, at byte 4"),
        ("[" * 100_000, "row 0 is broken or cut off"),
    ],
)
def test_a_broken_file_is_named_with_row_and_place(tmp_path, text, problem):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        list(chunks.chunks(path))
    assert str(caught.value).startswith(f"{path}: not a JSON list of rows: {problem}")


def test_huge_numbers_and_broken_utf8_are_data_not_errors(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(b'[{"a": ' + b"1" * 5000 + b', "b": "\xff"}]')
    (chunk,) = chunks.chunks(path)
    assert chunks.read(chunk) == [{"a": float("inf"), "b": "\udcff"}]


def test_parquet_is_read_by_row_groups(tmp_path):
    path, rows = tmp_path / "rows.parquet", [{"a": number} for number in range(10)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=4)
    found = list(chunks.chunks(path))
    assert [(chunk.first, chunk.count) for chunk in found] == [(0, 4), (4, 4), (8, 2)]
    assert [row for chunk in found for row in chunks.read(chunk)] == rows
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 56 + whole[60:])  # the first page
    with pytest.raises(ValueError, match="rows.parquet: row 0 and after can't be read"):
        chunks.read(found[0])
    path.write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="rows.parquet: not a parquet file, or cut off"):
        list(chunks.chunks(path))
