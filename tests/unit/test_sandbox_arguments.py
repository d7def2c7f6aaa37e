from pathlib import Path

from services.sandbox import Limits, Mount
from services.sandbox.bubblewrap import bubblewrap_arguments
from services.sandbox.lifeline import Lifeline
from services.sandbox.specification import SandboxSpec, SystemLayout, Tools

TOOLS = Tools(Path("/usr/bin/bwrap"), Path("/usr/bin/prlimit"), Path("/usr/bin/setpriv"))
SYSTEM = SystemLayout((Path("/usr"), Path("/opt")), {Path("/bin"): "usr/bin"})
WORK = Path("/opt/autopack/clones/1")


def arguments(**changes: object) -> str:
    spec = SandboxSpec(TOOLS, SYSTEM, ("/usr/bin/make", "test"), WORK, **changes)
    return " ".join(bubblewrap_arguments(spec))


def test_the_network_is_off_unless_asked_for():
    assert "--unshare-net" in arguments()
    assert "--unshare-net" not in arguments(network=True)


def test_every_sandbox_has_its_own_processes_and_dies_with_us():
    line = arguments()
    for option in ("--unshare-pid", "--die-with-parent", "--new-session", "--unshare-ipc", "--cap-drop ALL"):
        assert option in line


def test_a_hidden_folder_hides_what_shows_around_it_and_the_work_folder_shows_within_it():
    line = arguments(hidden_paths=(Path("/opt/autopack"),))
    around, hidden, work = (
        line.index("--ro-bind /opt /opt"),
        line.index("--tmpfs /opt/autopack"),
        line.index(f"--bind {WORK} {WORK}"),
    )
    assert around < hidden < work


def test_a_folder_that_does_not_show_is_not_hidden_by_name():
    assert "/srv/autopack" not in arguments(hidden_paths=(Path("/srv/autopack"),))


def test_something_lent_read_only_may_show_elsewhere_than_where_it_lies():
    line = arguments(readonly=(Mount(Path("/srv/prepared/venv"), WORK / ".venv"),))
    assert f"--ro-bind /srv/prepared/venv {WORK}/.venv" in line
    assert line.index(f"--bind {WORK} {WORK}") < line.index("--ro-bind /srv/prepared/venv")


def test_a_thousand_mounts_are_no_more_than_bubblewrap_takes_with_each_folder_before_what_is_below_it():
    shared = [Mount(Path(f"/srv/{n}"), Path(f"/a/{n % 3}/{n % 10}/{n % 20}/{n}")) for n in range(500)]
    lent = [Mount(Path(f"/srv/{n}"), WORK / f"{n}/a/b/c/{n}") for n in range(500)]
    spec = SandboxSpec(TOOLS, SYSTEM, ("/usr/bin/make",), WORK, readonly=(*shared, *lent))
    given = bubblewrap_arguments(spec)
    assert len(given) < 9000
    mounts = {Path(given[at + 2]): at for at, word in enumerate(given) if word == "--ro-bind"}
    assert {mount.destination for mount in (*shared, *lent)} <= mounts.keys()
    folders = {Path(given[at + 1]): at for at, word in enumerate(given) if word == "--dir"}
    assert len(folders) == given.count("--dir")
    for mount in shared:
        way = [*reversed(mount.destination.parents)][1:]
        order = [folders[folder] for folder in way]
        assert [*order, mounts[mount.destination]] == sorted([*order, mounts[mount.destination]])
    assert given.index("--bind") < min(mounts[mount.destination] for mount in lent)


def test_only_root_changes_the_user_and_keeps_what_that_takes():
    assert "setpriv" not in arguments()
    assert "--cap-add" not in arguments()
    line = arguments(uid=61200)
    assert "setpriv --reuid 61200 --regid 61200 --clear-groups" in line
    assert "--cap-add CAP_SETUID --cap-add CAP_SETGID" in line


def test_limits_are_set_in_the_sandbox():
    line = arguments(limits=Limits(processes=7, open_files=8, file_size_bytes=9, address_space_bytes=10))
    assert "--nproc=7 --nofile=8 --fsize=9 --core=0 --as=10" in line


def test_the_command_comes_last_and_unchanged():
    assert arguments().endswith(f"{WORK} /usr/bin/make test")


def test_the_root_is_made_read_only_after_all_mounts():
    line = arguments()
    assert line.index("--remount-ro /") > line.rindex("bind")


def test_files_are_copied_and_not_mounted():
    assert "--perms 0644 --file 7 /etc/hosts" in arguments(data_files={Path("/etc/hosts"): 7})


def test_whoever_becomes_another_user_may_open_the_pipes_that_it_writes_to():
    line = Lifeline(line=8, command_input=9)
    assert "chmod 0666 /proc/$$/fd/1 /proc/$$/fd/2" in arguments(uid=61200, lifeline=line)
    assert "chmod" not in arguments(lifeline=line)
