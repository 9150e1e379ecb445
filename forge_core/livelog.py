"""The live log of a notebook under papermill: its printed lines as they come, and signs of life between them."""

from __future__ import annotations

import logging
import re
import threading
import time
from pathlib import Path

from papermill.log import logger as papermill_logger

HEARTBEAT_SECONDS = 10  # a silent notebook still shows a line this often


class LiveLog(logging.Handler):
    """Shows what a notebook prints as it prints it, and that it is alive when it prints nothing; keeps log.txt.

    Takes papermill's log messages: which cell starts, and each output.
    """

    def __init__(self, label: str, cells: int, path: Path):
        super().__init__(logging.INFO)
        self.label, self.cells, self.path = label, cells, path
        self.cell = 0  # number of the cell that runs, from 1
        self.started = self.last = time.monotonic()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> LiveLog:
        self.file = self.path.open("w")
        papermill_logger.setLevel(logging.INFO)
        papermill_logger.addHandler(self)
        self.thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self.done.set()
        self.thread.join()
        papermill_logger.removeHandler(self)
        self.file.close()

    def emit(self, record: logging.LogRecord) -> None:
        if record.funcName == "cell_start":
            self.cell = int(re.search(r"\d+", record.getMessage()).group())
        elif record.funcName == "log_output_message":
            for line in re.split(r"[\r\n]+", record.getMessage()):
                if line.strip() and not re.fullmatch(r"<.*>", line):  # <Figure size ...>: nothing to read in a log
                    self.write(line)

    def heartbeat(self) -> None:
        """Write a line if nothing was written for HEARTBEAT_SECONDS."""
        with self.lock:
            if time.monotonic() - self.last >= HEARTBEAT_SECONDS:
                self.write(f"working: cell {self.cell}/{self.cells}, {time.monotonic() - self.started:.0f} s so far")

    def write(self, text: str) -> None:
        self.last = time.monotonic()
        minutes, seconds = divmod(int(self.last - self.started), 60)
        line = f"{self.label} {minutes:3d}:{seconds:02d}  {text}"
        print(line, flush=True)
        print(line, file=self.file, flush=True)

    def _watch(self) -> None:
        while not self.done.wait(1.0):
            self.heartbeat()
