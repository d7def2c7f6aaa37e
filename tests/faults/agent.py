"""The agent of the fault harness, builder and auditor in one: `agent.py PIPE SECONDS MARKER`, request on stdin.

It tells the pipe of each start, works for that long, and behaves as the beginning of the phase's name says:
`plain` passes, `mended` breaks the checks in its first attempt, `audited` is sent back after its first audit.
It leaves a process behind, which carries the marker, and must be dead when its sandbox is.
"""

import datetime
import json
import os
import pathlib
import sys
import time


def own_folder() -> str:
    """What the folder that it works in is called outside of the sandbox."""
    mounts = [line.split(" ") for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    return next((mount[3] for mount in mounts if mount[4] == os.getcwd()), "")


def leave_a_process_behind(marker: str) -> None:
    """Nobody's child, in a session of its own, with nothing open that anybody waits for."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nothing, descriptor)
            os.execvpe("sleep", ["sleep", "3600"], {"PATH": os.environ["PATH"], marker: "1"})
        os._exit(0)
    os.wait()


request = json.load(sys.stdin)
phase_id, attempt = request["phase"]["phase_id"], request["attempt"]
role = "auditor" if "auditor_profile" in request else "builder"
start = {"role": role, "run_id": request["run_id"], "phase_id": phase_id, "attempt": attempt}
start["folder"] = own_folder()
start["at"] = datetime.datetime.now(datetime.UTC).isoformat()
# Nothing of the world can be written to from within a sandbox, but for a pipe; a line this short goes in whole.
with open(sys.argv[1], "w") as pipe:
    pipe.write(json.dumps(start) + "\n")
leave_a_process_behind(sys.argv[3])
print(f"working on {phase_id}", file=sys.stderr, flush=True)
time.sleep(float(sys.argv[2]))
report = pathlib.Path(os.environ["AUTOPACK_REPORT"])
report.write_text(json.dumps({"tokens": {"input": 10, "output": 10}}))
if role == "builder":
    pathlib.Path(f"{request['run_id']}-{phase_id}.txt").write_text(f"attempt {attempt}\n")
    if phase_id.startswith("mended") and attempt == 1:
        pathlib.Path("broken.txt").write_text("the checks turn red\n")
else:
    sent_back = phase_id.startswith("audited") and attempt == 1
    finding = {"severity": "minor", "category": "style", "message": "say it again", "path": f"{phase_id}.txt"}
    verdict = {"recommendation": "revise" if sent_back else "approve", "confidence": 0.9}
    print(json.dumps({**verdict, "findings": [finding] if sent_back else []}))
