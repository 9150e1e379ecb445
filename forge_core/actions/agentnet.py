"""AgentNet, the data of OpenCUA (arXiv 2508.09123): AGUVIS' pyautogui calls with a few habits of their own.

Drags name their button, scrolls count wheel clicks (`scroll(-54)`, negative is down), the end is
`computer.terminate(status='success')`. The data gives fractions of the screenshot; OpenCUA models answer in pixels of
the resized image (dialect 'opencua').
"""

from forge_core.actions import aguvis
from forge_core.actions.steps import Reading, Step

SIGN = aguvis.SIGN
read = aguvis.read


def write(reading: Reading) -> str:
    """The steps as AgentNet writes them, one call a line; raises ValueError on what the dialect lacks."""
    return aguvis.write(reading, _lines)


def _lines(step: Step) -> list[str]:
    ends = step.arguments
    if step.name == "drag" and {"from_coord", "to_coord"} == set(ends):
        (x1, y1), (x2, y2) = ends["from_coord"], ends["to_coord"]
        return [f"pyautogui.moveTo(x={x1!r}, y={y1!r})", f"pyautogui.dragTo(x={x2!r}, y={y2!r}, button='left')"]
    if step.name == "final_answer" and ends["answer"] in ("success", "failure"):
        return [f"computer.terminate(status={ends['answer']!r})"]
    return aguvis.write_step(step)
