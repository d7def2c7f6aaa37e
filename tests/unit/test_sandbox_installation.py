from pathlib import Path

from services.sandbox.installation import find_executable, needed_paths


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_bare_name_is_looked_up_and_a_relative_path_starts_in_the_work_folder(tmp_path: Path):
    tool = executable(tmp_path / "tools" / "agent")
    assert find_executable("agent", str(tool.parent), tmp_path) == tool
    assert find_executable("tools/agent", "/usr/bin", tmp_path) == tool
    assert find_executable("absent", str(tool.parent), tmp_path) is None
    assert find_executable(str(tmp_path / "absent"), "", tmp_path) is None


def test_the_installation_of_the_interpreter_is_needed_through_links_and_shebangs(tmp_path: Path):
    python = executable(tmp_path / "runtime" / "bin" / "python3.99", "\x7fELF")
    (tmp_path / "runtime" / "lib").mkdir()
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(python)
    (venv / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    agent = executable(tmp_path / "agents" / "agent.py", f"#!{venv}/bin/python -u\n")
    needed = needed_paths(agent, (), "")
    assert {agent, venv / "bin", venv / "pyvenv.cfg", python.parent, tmp_path / "runtime" / "lib"} <= {*needed}
    assert tmp_path / "agents" not in needed


def test_an_interpreter_named_through_env_is_found_on_the_path(tmp_path: Path):
    node = executable(tmp_path / "node" / "bin" / "node", "\x7fELF")
    agent = executable(tmp_path / "agent", "#!/usr/bin/env -S node --quiet\n")
    assert node.parent in needed_paths(agent, (), str(node.parent))


def test_files_named_on_the_command_line_are_needed_and_other_words_are_not(tmp_path: Path):
    script, data = tmp_path / "agent.py", tmp_path / "data"
    script.write_text("")
    data.mkdir()
    arguments = (
        str(script),
        f"--data={data}",
        "/",
        "/no/such/file",
        "x" * 5000,
        f"cat {tmp_path}",
        "/" + "y" * 5000,
    )
    assert set(needed_paths(Path("/bin/sh"), arguments, "")) & {script, data, tmp_path, Path("/")} == {
        script,
        data,
    }


def test_a_tool_in_a_home_folder_does_not_open_the_home(tmp_path: Path, monkeypatch):
    home = tmp_path / "home"
    tool = executable(home / "bin" / "agent")
    (home / "lib").mkdir()
    (home / "share").mkdir()
    monkeypatch.setattr("services.sandbox.installation._home_folders", lambda: frozenset({home}))
    needed = needed_paths(tool, (), "")
    assert home / "bin" in needed
    assert not {home, home / "lib", home / "share"} & {*needed}


def test_a_loop_of_links_comes_to_an_end(tmp_path: Path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert needed_paths(tmp_path / "a", (), "") == ()
