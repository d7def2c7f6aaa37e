"""The sandbox that agents and checks run in: what it shows, what it limits, and how it ends."""

from services.sandbox.environment import SecretForbidden, SecretMissing
from services.sandbox.job import Job, Sandbox, SandboxUnavailable
from services.sandbox.locate import find_bubblewrap
from services.sandbox.opening import Probe, open_sandbox, probe
from services.sandbox.orphans import end_orphans
from services.sandbox.ownership import remove_folder
from services.sandbox.specification import WORKSPACE, Limits, Mount
from services.sandbox.work_folders import remove_or_leave, work_folder

__all__ = [
    "WORKSPACE",
    "Job",
    "Limits",
    "Mount",
    "Probe",
    "Sandbox",
    "SandboxUnavailable",
    "SecretForbidden",
    "SecretMissing",
    "end_orphans",
    "find_bubblewrap",
    "open_sandbox",
    "probe",
    "remove_folder",
    "remove_or_leave",
    "work_folder",
]
