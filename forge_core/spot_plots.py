"""Screenshots with what an agent did on them: the picture of `forge spot`, and the filmstrip of a live page."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from PIL import Image

from forge_core.actions.types import Action
from forge_core.actions.unified import POINTING, render
from forge_core.plots import BLUE, COLUMNS, GREY, INK, PURPLE, RED, figure, fit, ring

WIDE, NARROW = 7.2, 4.4  # inches: the width of a picture alone, and of one among others
LINE = 0.17  # inches: a line of small print
CHARACTERS = 14.5  # of small print in an inch
_ARROWS = {"down": (0, 0.25), "up": (0, -0.25), "right": (0.25, 0), "left": (-0.25, 0)}  # which way a page scrolls


@dataclass(frozen=True)
class Frame:
    """A screenshot with what was done on it: its title, the actions, and what is said below them."""

    image: Image.Image
    title: str
    actions: Sequence[Action] = ()
    thought: str = ""
    problem: str = ""


def draw(title: str, frames: Sequence[Frame]) -> Figure:
    """The frames in rows: screenshot with ring (click) or arrow (drag, scroll); below it actions, thought, problem."""
    columns = min(COLUMNS, len(frames))
    aspects = [frame.image.height / frame.image.width for frame in frames]
    width = NARROW if columns > 1 or aspects[0] > 1.4 else WIDE
    rows = [frames[start : start + columns] for start in range(0, len(frames), columns)]
    texts = {id(frame): _print(frame, int(width * CHARACTERS)) for frame in frames}
    heights = []
    for row in rows:
        aspect = max(aspects[len(heights) // 2 * columns :][: len(row)])
        heights += [
            min(max(width * aspect, 0.5), WIDE) + 0.3 * bool(row[0].title),
            LINE * max(len(texts[id(frame)]) for frame in row) + 0.1,
        ]
    heading = fit(title, int(columns * width * 8), 3)
    fig = figure(columns * width, sum(heights) + 0.3 + 0.05 * len(heights) + 0.2 * heading.count("\n"), heading)
    fig.get_layout_engine().set(w_pad=0.1, wspace=0.03)
    grid = fig.subplots(len(heights), columns, height_ratios=heights, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, frame in enumerate(frames):
        row, column = divmod(number, columns)
        _show(grid[2 * row, column], frame)
        _write(grid[2 * row + 1, column], texts[id(frame)])
    return fig


def _show(axes: Axes, frame: Frame) -> None:
    """The screenshot, in normalised coordinates: (0, 0) upper left, (1, 1) lower right."""
    image = frame.image.copy()
    image.thumbnail((1400, 1400))
    axes.imshow(image, extent=(0, 1, 1, 0), aspect=frame.image.height / frame.image.width)
    axes.set_anchor("S")
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=RED if frame.problem else GREY, linewidth=1.5)
    axes.set_title(frame.title, size=9.5, color=INK, loc="left", parse_math=False)
    for action in frame.actions:
        _mark(axes, action)


def _mark(axes: Axes, action: Action) -> None:
    values = action.arguments
    place = (values["x"], values["y"]) if "x" in values else None
    if action.name in POINTING and place:
        ring(axes, place, 24)
        axes.plot(*place, "o", markersize=4, color=PURPLE, markeredgecolor="white", clip_on=False)
    elif "from_coord" in values and "to_coord" in values:
        _arrow(axes, values["from_coord"], values["to_coord"])
    elif action.name == "scroll":
        (x, y), (right, down) = place or (0.5, 0.5), _ARROWS[values["direction"]]
        _arrow(axes, (x - right / 2, y - down / 2), (x + right / 2, y + down / 2))


def _arrow(axes: Axes, start: Sequence[float], end: Sequence[float]) -> None:
    style = {"arrowstyle": "-|>,head_width=0.4,head_length=0.7", "color": PURPLE, "lw": 2.5, "shrinkA": 0, "shrinkB": 0}
    rim = [Stroke(linewidth=5, foreground="white"), Normal()]  # keeps it visible on any screen
    axes.annotate("", end, start, arrowprops=style | {"path_effects": rim})


def _print(frame: Frame, width: int) -> list[tuple[str, dict]]:
    """Lines of small print with their style."""
    calls = {"color": BLUE, "weight": "bold"}
    parts = [(call, calls, 2) for call in render(frame.actions).splitlines()[:4]]
    parts += [(frame.thought, {"color": INK}, 6), (frame.problem, {"color": RED}, 5)]
    wide = int(width * 0.9)  # bold
    return [
        (line, style)
        for text, style, most in parts
        if text.strip()
        for line in fit(text, wide if style is calls else width, most).split("\n")
    ]


def _write(axes: Axes, lines: Sequence[tuple[str, dict]]) -> None:
    for number, (line, style) in enumerate(lines):
        below = {"xytext": (0, -72 * LINE * number), "textcoords": "offset points", "va": "top", "size": 8.5}
        text = axes.annotate(line, (0, 1), xycoords="axes fraction", parse_math=False, **below, **style)
        text.set_in_layout(False)  # its room is there already
