"""The work file of a preprocessing run: an SQLite database that holds the turns while they are put together.

It keeps memory flat however many rows there are, finds repeats by index, and remembers what is done: each chunk is
one transaction, so a killed run goes on without a lost or doubled row.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from forge_core.data.convert import Converted

CACHE_KIB = 1024
_TABLES = """
CREATE TABLE identity (value TEXT);
CREATE TABLE subset (id INTEGER PRIMARY KEY, name TEXT UNIQUE, platform TEXT, root TEXT, rows INTEGER, left_out INTEGER,
                     duplicates INTEGER, whole INTEGER);
CREATE TABLE turn (subset INTEGER, row INTEGER, number INTEGER, image TEXT, same BLOB, near BLOB, functions TEXT,
                   turn TEXT, left REAL, top REAL, right REAL, bottom REAL, dropped TEXT);
CREATE TABLE image (id INTEGER PRIMARY KEY, root TEXT, name TEXT, width INTEGER, height INTEGER, reason TEXT,
                    value TEXT, UNIQUE (root, name));
CREATE TABLE rejected (subset INTEGER, row INTEGER, number INTEGER, image TEXT, reason TEXT, value TEXT);
"""
# What each switch of the curation drops: (its parameter, its name in the report, the turns); a value of None is off.
CURATION = (
    ("drop_off_screen", "off-screen box", "left < 0 OR top < 0 OR right > 1 OR bottom > 1"),
    ("max_target_share", "giant box", "(right - left) * (bottom - top) > :max_target_share"),
    (
        "min_target_px",
        "tiny target",
        "min((right - left) * width, (bottom - top) * height) * :image_size / max(width, height) < :min_target_px",
    ),
    (
        "drop_near_duplicates",
        "near-duplicate",
        "turn.rowid NOT IN (SELECT min(rowid) FROM turn WHERE dropped IS NULL GROUP BY near)",
    ),
)
PLATFORM = "(SELECT platform FROM subset WHERE id = turn.subset)"
ACTION = "substr(functions, 1, instr(functions || ',', ',') - 1)"  # the first of a turn
_UNSEEN = "width IS NULL AND reason IS NULL"
_ROOT = "(SELECT root FROM subset WHERE id = turn.subset)"


class Work:
    """The work file at `path`; one that was made from other inputs (`identity`) is started afresh."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        os.environ.setdefault("SQLITE_TMPDIR", str(path.parent))  # sorting spills beside the output, not to /tmp
        if not self._open() or self.one("SELECT value FROM identity") != identity:
            self.remove()
            self._open()
            self.db.executescript(_TABLES)
            self.db.execute("INSERT INTO identity VALUES (?)", (identity,))
            self.db.commit()

    def _open(self) -> bool:
        """Connect; False where the file is new, or too broken to go on with."""
        self.db = sqlite3.connect(self.path)
        try:
            self.db.execute("PRAGMA journal_mode = WAL")
            self.db.execute("PRAGMA synchronous = NORMAL")
            self.db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self.db.execute("PRAGMA temp_store = FILE")
            return self.one("SELECT count(*) FROM sqlite_master WHERE name = 'identity'") == 1
        except sqlite3.DatabaseError:
            return False

    def close(self) -> None:
        """Close the file and keep it for the next run."""
        self.db.close()

    def remove(self) -> None:
        """Close and delete the file."""
        self.db.close()
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    def one(self, query: str, *values: object) -> object:
        """The first column of the first row; None where there is none."""
        row = self.db.execute(query, values).fetchone()
        return row and row[0]

    def subset(self, name: str, platform: str, root: str) -> int:
        """The number of a subset, which is entered where it is new."""
        values = (name, platform, root)
        with self.db:
            self.db.execute("INSERT OR IGNORE INTO subset VALUES (NULL, ?, ?, ?, 0, 0, 0, 0)", values)
        return self.one("SELECT id FROM subset WHERE name = ?", name)

    def rows_done(self, subset: int) -> int:
        """How many raw rows of the subset are in."""
        return self.one("SELECT rows FROM subset WHERE id = ?", subset)

    def add(self, subset: int, result: Converted) -> None:
        """Take a chunk in, all or nothing."""
        with self.db:
            self.db.executemany(
                "INSERT INTO turn VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
                ((subset, *turn) for turn in result.turns),
            )
            self.db.executemany(
                "INSERT INTO rejected VALUES (?, ?, ?, ?, ?, ?)", ((subset, *row) for row in result.rejected)
            )
            self.db.execute(
                "UPDATE subset SET rows = rows + ?, left_out = left_out + ? WHERE id = ?",
                (result.rows, result.left_out, subset),
            )

    def list_images(self, subset: int) -> int:
        """Enter the images that the subset's turns name and nobody has looked at; how many are still to be seen."""
        root = self.one("SELECT root FROM subset WHERE id = ?", subset)
        with self.db:
            self.db.execute(
                "INSERT OR IGNORE INTO image (root, name) SELECT ?, image FROM turn WHERE subset = ?"
                " GROUP BY image ORDER BY min(rowid)",
                (root, subset),
            )
        return self.one(f"SELECT count(*) FROM image WHERE root = ? AND {_UNSEEN}", root)

    def unseen(self, subset: int, batch: int) -> Iterator[tuple[str, list[str]]]:
        """(root, names) of the images to be looked at, in batches."""
        root, last = self.one("SELECT root FROM subset WHERE id = ?", subset), 0
        query = f"SELECT id, name FROM image WHERE root = ? AND {_UNSEEN} AND id > ? ORDER BY id LIMIT ?"
        while rows := self.db.execute(query, (root, last, batch)).fetchall():
            last = rows[-1][0]
            yield root, [name for _, name in rows]

    def add_seen(self, root: str, names: list[str], found: Iterable[tuple]) -> None:
        """What was seen of a batch of images: (width, height), or (reason, value)."""
        with self.db:
            for name, seen in zip(names, found, strict=True):
                columns = "reason = ?, value = ?" if isinstance(seen[0], str) else "width = ?, height = ?"
                self.db.execute(f"UPDATE image SET {columns} WHERE root = ? AND name = ?", (*seen, root, name))

    def finish(self, subset: int) -> None:
        """Leave out turns that repeat an earlier one, reject those on images that can't be used: it is whole."""
        repeats = """DELETE FROM turn WHERE rowid IN (SELECT id FROM (
            SELECT rowid AS id, row_number() OVER (PARTITION BY same ORDER BY rowid) AS nth FROM turn WHERE subset = ?
            ) WHERE nth > 1)"""
        bad = f"FROM turn JOIN image ON image.name = turn.image AND image.root = {_ROOT} WHERE subset = ? AND reason"
        with self.db:
            left_out = self.db.execute(repeats, (subset,)).rowcount
            self.db.execute("UPDATE subset SET duplicates = ? WHERE id = ?", (left_out, subset))
            if self.one("SELECT 1 FROM image WHERE reason IS NOT NULL"):
                self.db.execute(
                    f"INSERT INTO rejected SELECT subset, row, number, turn.image, reason, value {bad} IS NOT NULL",
                    (subset,),
                )
                self.db.execute(f"DELETE FROM turn WHERE rowid IN (SELECT turn.rowid {bad} IS NOT NULL)", (subset,))
            self.db.execute("UPDATE subset SET whole = 1 WHERE id = ?", (subset,))

    def curate(self, values: dict[str, object]) -> None:
        """Mark what the switches of CURATION drop; `values` are those that are on, and `image_size`."""
        with self.db:
            self.db.execute("UPDATE turn SET dropped = NULL")
            for parameter, name, condition in CURATION:
                if parameter in values:
                    self.db.execute(
                        f"UPDATE turn SET dropped = '{name}' FROM image WHERE dropped IS NULL AND ({condition})"
                        f" AND image.name = turn.image AND image.root = {_ROOT}",
                        values,
                    )

    def balance(self, by: str, share: float, name: str) -> None:
        """Thin out each class of turns that has more than `share` of what stays. `by` is an SQL expression of turn.

        Which of them go is decided by their key, which is a hash: as good as by lot, and always the same.
        """
        left = "FROM turn WHERE dropped IS NULL"
        counts = dict(self.db.execute(f"SELECT {by}, count(*) {left} GROUP BY 1"))
        limit = _limit(list(counts.values()), share)
        with self.db:
            for value in (value for value, count in counts.items() if count > limit):
                self.db.execute(
                    f"UPDATE turn SET dropped = ? WHERE rowid IN"
                    f" (SELECT rowid {left} AND {by} = ? ORDER BY same LIMIT -1 OFFSET ?)",
                    (name, value, limit),
                )

    def screens(self, subset: int, stage: int) -> Iterator[tuple[int, str, int, int, list[str]]]:
        """(first raw row, image, width, height, turns as JSON) of each screenshot, in the order of the raw rows.

        Stage 1 keeps all turns of an image together, stage 2 those of a raw row.
        """
        first = "min(row) OVER (PARTITION BY image)" if stage == 1 else "row"
        query = f"""
            SELECT first, turn.image, width, height, turn
            FROM (SELECT {first} AS first, image, row, number, turn FROM turn
                  WHERE subset = :subset AND dropped IS NULL) AS turn
            JOIN image ON image.name = turn.image
            WHERE image.root = (SELECT root FROM subset WHERE id = :subset)
            ORDER BY first, row, number"""
        screen, turns = None, []
        for *head, turn in self.db.execute(query, {"subset": subset}):
            if head != screen and turns:
                yield *screen, turns
                turns = []
            screen = head
            turns.append(turn)
        if turns:
            yield *screen, turns

    def rejected(self) -> Iterator[tuple]:
        """(subset, row, number, image, reason, value) of all that was rejected, in the order of the raw rows."""
        return self.db.execute(
            "SELECT name, row, number, image, reason, value FROM rejected JOIN subset ON subset.id = subset"
            " ORDER BY subset, row, number, rejected.rowid"
        )

    def counts(self, subset: int) -> dict:
        """Counts of a subset: rows, left_out, turns, duplicates, rejected, dropped and functions by name."""
        rows, left_out, duplicates = self.db.execute(
            "SELECT rows, left_out, duplicates FROM subset WHERE id = ?", (subset,)
        ).fetchone()
        functions: dict[str, int] = {}
        kept = f"FROM turn WHERE subset = {subset} AND dropped IS NULL"
        for names, count in self.db.execute(f"SELECT functions, count(*) {kept} GROUP BY 1 ORDER BY min(rowid)"):
            for name in names.split(","):
                functions[name] = functions.get(name, 0) + count
        return {
            "rows": rows, "left_out": left_out, "duplicates": duplicates, "functions": functions,
            "turns": self.one(f"SELECT count(*) {kept}"),
            "rejected": self._tally(f"reason, count(*) FROM rejected WHERE subset = {subset}"),
            "dropped": self._tally(f"dropped, count(*) FROM turn WHERE subset = {subset} AND dropped IS NOT NULL"),
        }  # fmt: skip

    def _tally(self, query: str) -> dict[str, int]:
        return dict(self.db.execute(f"SELECT {query} GROUP BY 1 ORDER BY 2 DESC, 1"))


def _limit(counts: list[int], share: float) -> int:
    """The largest size to which classes are cut so that none has more than `share` of what stays.

    Where no size can do that (two classes never have less than a half each), the size of the smallest class.
    """
    low, high = min(counts, default=0), max(counts, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if middle <= share * sum(min(count, middle) for count in counts):
            low = middle
        else:
            high = middle - 1
    return low
