"""Looking at raw rows: counts that include what is broken, and samples that point where their rows point."""

import json

from forge_core.data.explore import look
from forge_core.data.sandbox import write_raw


def test_counts_and_samples_of_raw_rows(tmp_path):
    write_raw(tmp_path / "raw", screens=5, seed=1)
    file = tmp_path / "raw/stage1/sandbox_web.json"
    rows = json.loads(file.read_text())
    turns = sum(len(row["conversations"]) // 2 for row in rows)
    file.write_text(json.dumps([*rows, {"image": "x.png"}, rows[0] | {"image": "missing.png"}]))
    (counts,), examples = look(tmp_path / "raw", tmp_path, 1, ["sandbox_web"], sample=7, seed=0)
    assert (counts.rows, counts.broken, counts.screenshots) == (7, 1, 6)
    assert counts.turns == turns + len(rows[0]["conversations"]) // 2
    assert sorted(example.id for example in examples) == [f"sandbox_web-{n:06d}" for n in range(5)]
    for example in examples:
        raw = rows[int(example.id.rpartition("-")[2])]["conversations"]
        assert (tmp_path / example.image).is_file()
        assert [turn.instruction for turn in example.turns] == [m["value"].removeprefix("<image>\n") for m in raw[::2]]
        for turn, message in zip(example.turns, raw[1::2], strict=True):
            assert turn.actions[0].partition("(")[2] == message["value"].partition("(")[2]
