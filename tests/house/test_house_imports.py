"""Importing a module does nothing: no file, no process, no connection, no thread, no change of the environment."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("events", "projections", "services")
# Audit events of what an import must not do. Reading files is what importing is.
WATCHED = """
import importlib, os, sys, threading

FORBIDDEN = set(
    "os.chmod os.fork os.kill os.mkdir os.posix_spawn os.putenv os.remove os.rename os.system os.unsetenv "
    "shutil.copyfile shutil.rmtree socket.bind socket.connect socket.getaddrinfo subprocess.Popen "
    "tempfile.mkdtemp tempfile.mkstemp".split()
)

def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if watching and (event in FORBIDDEN or writes):
        print(f"{name}: {event} {arguments[:2]!r}"[:200])

watching, name = False, ""
sys.dont_write_bytecode = True
sys.addaudithook(watch)
environment = dict(os.environ)
for name in sys.argv[1:]:
    watching = True
    importlib.import_module(name)
    watching = False
if dict(os.environ) != environment:
    print("the environment was changed")
if threading.active_count() != 1:
    print(f"threads were started: {threading.enumerate()}")
"""


def module_names() -> list[str]:
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]


def faults_of_importing(names: list[str], folder: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", WATCHED, *names]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    return done.stdout + done.stderr


def test_importing_every_module_does_nothing() -> None:
    assert faults_of_importing(module_names(), ROOT) == ""


def test_an_import_that_does_something_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text("import socket\nsocket.socket().bind(('127.0.0.1', 0))\n")
    assert "busy: socket.bind" in faults_of_importing(["busy"], tmp_path)
