"""The real vastai command with its libraries loaded once: a call forks instead of importing requests and the like anew.

`start` serves, by the Python of `.venv-vast`, and writes the `vastai` that asks it. What vastai reads at its import
(VAST_URL) it reads in the environment of the call, as its own modules are imported after the fork.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path

ENTRY = "vastai.cli.main"  # of the other environment

CLIENT = """\
#!{python} -SE
import json, os, socket, sys
call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    socket.send_fds(line, [len(call).to_bytes(4, "big")], [0, 1, 2])
    line.sendall(call)
    status = line.recv(1)
sys.exit(status[0] if status else 1)
"""


def serve(address: str) -> None:
    import_module(ENTRY)

    for name in [name for name in sys.modules if name.partition(".")[0] == "vastai"]:
        del sys.modules[name]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(16)
        print("ready", flush=True)
        while True:
            line, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                line.send(bytes([call(line)]))
                os._exit(0)
            line.close()


def call(line: socket.socket) -> int:
    """One call of vastai, in a process of its own; its exit status."""
    length, files, _, _ = socket.recv_fds(line, 4, 3)
    with line.makefile("rb") as stream:
        arguments, folder, environment = json.loads(stream.read(int.from_bytes(length, "big")))
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["vastai", *arguments]
    try:
        status = import_module(ENTRY).main()
    except SystemExit as end:
        status = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else 1 if status else 0


def start(python: Path, folder: Path) -> tuple[subprocess.Popen, Path]:
    """The server, and the program that asks it. `python`: that of the environment of vastai."""
    address = folder / "socket"
    server = subprocess.Popen([python, __file__, str(address)], stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    program = folder / "vastai"
    program.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    program.chmod(0o755)
    return server, program


if __name__ == "__main__":
    serve(sys.argv[1])
