"""report.html: an evaluation in one file that opens anywhere, without a network and without this package.

Instructions and answers are text of others: the templates escape them, and the page's content policy lets no script
run but its own.
"""

import base64
import hashlib
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from bs4 import BeautifulSoup
from markupsafe import Markup
from matplotlib.figure import Figure

from forge_core.clean_html import clean
from forge_core.data.images import rgb
from forge_core.data.screenspot import Target
from forge_core.evaluation.compare import mcnemar
from forge_core.evaluation.samples import OUTCOMES, Sample, colour, join, marks, screenshot, templates, webp
from forge_core.evaluation.score import Row, Scored

SCREEN = 640  # px: longer edge of a screenshot in the report
QUALITY = 60  # of its WebP
FIGURE_QUALITY = 90


def write_report(
    path: str | Path,
    title: str,
    tables: Mapping[str, Sequence[Row]],
    runs: Mapping[str, Sequence[Scored]],
    targets: Sequence[Target],
    figures: Mapping[str, Figure | str | Path],
    prompts: Mapping[str, str],
    notes: Sequence[str] = (),
    megabytes: float = 6.0,
) -> Path:
    """Write an evaluation of `runs` (model -> judged answers) as one HTML file; returns its path.

    `tables` is model -> `score.table`, `figures` is what a figure shows in words -> the figure or its PNG, `prompts` is
    name -> text, `notes` are lines below the title. Screenshots take at most about `megabytes`: samples that only
    one of the last two models hits come first, then misses of the last, from all platforms in turn, as many as fit.

    Raises ValueError where the models were not scored on the same known targets, OSError where a screenshot is missing
    or broken.
    """
    samples = join(runs, targets)
    shown, screens = _fitting(ranked(samples), megabytes)
    page = _rendered(
        "report.html",
        title=title,
        notes=notes,
        table=_table(tables),
        pairs=_pairs(runs),
        figures=[(words, _picture(figure)) for words, figure in figures.items()],
        prompts=prompts.items(),
        outcomes=OUTCOMES,
        models=[{"name": name, "colour": colour(number)} for number, name in enumerate(runs)],
        groups=[(field, _values(shown, field)) for field in ("platform", "kind")],
        samples=[_card(sample, screens[str(sample.target.image)]["id"]) for sample in shown],
        screens=screens.values(),
        total=len(samples),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")  # a model may write half a surrogate pair
    os.replace(part, path)
    return path


def cleaned(report: str) -> str:
    """A report from elsewhere as a page of this version's: its own texts and pictures, and no script but ours."""
    title = BeautifulSoup(report, "html.parser").title
    return _rendered("report_page.html", title=title.get_text() if title else "Report", body=Markup(clean(report)))


def _rendered(template: str, **values) -> str:
    """A page with the report's style and script."""
    script = templates().loader.get_source(templates(), "report.js")[0]
    script_hash = f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
    return templates().get_template(template).render(script=Markup(script), script_hash=script_hash, **values)


def ranked(samples: Sequence[Sample]) -> list[Sample]:
    """In the order in which they are worth a look: first those that only one of the last two models hits.

    Then misses of the last, then those that any differ on. Among equals the platforms take turns.
    """
    turns, keys = Counter(), {}
    for sample in samples:
        hits = [answer.outcome == "hit" for answer in sample.answers.values()]
        group = (len(set(hits[-2:])) == 1, hits[-1], not sample.differs)
        turns[group, sample.target.platform] += 1
        keys[sample.target.id] = (*group, turns[group, sample.target.platform])
    return sorted(samples, key=lambda sample: keys[sample.target.id])


def _fitting(samples: Sequence[Sample], megabytes: float) -> tuple[list[Sample], dict[str, dict]]:
    """Samples in order until the next screenshot would be too much, and those screenshots by path, each once."""
    shown, screens, room = [], {}, megabytes * 1e6
    for sample in samples:
        path = str(sample.target.image)
        if path not in screens:
            if room <= 0:
                continue
            source = screenshot(sample.target.image, SCREEN, QUALITY)
            room -= len(source)
            screens[path] = {"id": f"screen-{len(screens)}", "size": marks(sample)["size"], "source": source}
        shown.append(sample)
    return shown, screens


def _card(sample: Sample, screen: str) -> dict:
    image = Markup('<use href="#{}"/>').format(screen)
    answers = list(sample.answers.values())
    return {
        "target": sample.target,
        "differs": sample.differs,
        "answers": answers,
        "image": image,
        "marks": marks(sample),
    }


def _table(tables: Mapping[str, Sequence[Row]]) -> dict:
    """The rows of all tables side by side; a group that a model lacks is an empty cell."""
    cells = {name: {(row.group, row.name): row for row in table} for name, table in tables.items()}
    keys = list(dict.fromkeys(key for rows in cells.values() for key in rows))
    rows, before = [], None
    for group, name in keys:
        found = [rows.get((group, name)) for rows in cells.values()]
        label = {"micro": "all", "macro": "macro mean"}.get(name, name) if group == "overall" else name
        n = next(cell.n for cell in found if cell) if name != "macro" else None
        rows.append({"name": label, "n": n, "cells": found, "first": before not in (None, group)})
        before = group
    return {"models": list(tables), "rows": rows}


def _pairs(runs: Mapping[str, Sequence[Scored]]) -> list[dict]:
    """McNemar's test on every two models; first and second are their places in order."""
    pairs = []
    for (first, before), (second, after) in combinations(enumerate(runs), 2):
        paired = mcnemar(runs[before], runs[after])
        p = "< 0.001" if paired.p_value < 0.001 else f"{paired.p_value:.3f}"
        places = {"first": first, "second": second}
        pairs.append({"before": before, "after": after, "gained": paired.gained, "lost": paired.lost, "p": p} | places)
    return pairs


def _picture(figure: Figure | str | Path) -> str:
    """A figure, or a picture in a file, as a data: URI."""
    if not isinstance(figure, Figure):
        return webp(rgb(figure, str(figure)), FIGURE_QUALITY)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return webp(rgb(buffer.getvalue(), "figure"), FIGURE_QUALITY)


def _values(samples: Sequence[Sample], field: str) -> list[str]:
    return sorted({getattr(sample.target, field) for sample in samples})
