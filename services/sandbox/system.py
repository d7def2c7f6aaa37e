"""The part of this machine that every sandbox shows: its programs, and what they read of /etc."""

import os
from pathlib import Path

from services.sandbox.specification import SystemLayout

ROOT_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
PROGRAM_FOLDERS = ("/usr", "/opt", "/nix")
COPIED_BYTES = 256 * 1024
# The rest of /etc may hold what an operator keeps there for the services alone.
CONFIGURATION = (
    *("alternatives", "ca-certificates*", "crypto-policies", "debian_version", "fonts", "gai.conf"),
    *("host.conf", "hosts", "java*", "ld.so.*", "locale.*", "localtime", "magic", "manpath.config"),
    *("mime.types", "nsswitch.conf", "os-release", "perl", "pki/ca-trust", "pki/tls/certs", "profile"),
    *("protocols", "python*", "R", "resolv.conf", "services", "shells", "ssl/certs", "ssl/openssl.cnf"),
    *("terminfo", "texmf", "timezone", "xml"),
)


def system_layout() -> SystemLayout:
    """Look at this machine and list what is there."""
    roots = [Path("/") / name for name in ROOT_FOLDERS]
    programs = [Path(folder) for folder in PROGRAM_FOLDERS]
    links = {path: os.readlink(path) for path in roots if path.is_symlink()}
    folders = [path for path in (*programs, *roots) if path.is_dir() and path not in links]
    configuration = _configuration()
    files = [path for path in configuration if path.is_file() and path.stat().st_size <= COPIED_BYTES]
    others = [path for path in configuration if path not in files]
    return SystemLayout((*folders, *others), links, tuple(files))


def _configuration() -> list[Path]:
    found = (path for pattern in CONFIGURATION for path in sorted(Path("/etc").glob(pattern)))
    return [path for path in found if path.exists()]
