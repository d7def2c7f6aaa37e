"""Files that run, or steer a tool or agent, without anybody starting them.

A phase may touch them only when its `allow` names them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from services.policy.change import FileChange, ProposedChange
from services.policy.globs import Globs, forbidding, granting
from services.policy.policy import Policy, Violation, violation


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of such files: the rule's code, what they do, their globs."""

    rule: str
    what: str
    globs: tuple[str, ...]


def _family(rule: str, what: str, globs: str) -> Family:
    return Family(rule, what, tuple(globs.split()))


# `python -m pytest` looks where it starts before it looks at what is installed, and PYTHONPATH is often `src`.
# A folder comes first only with an `__init__`; without one it is a place where many keep their tests.
_SHADOWING = " ".join(
    f"{folder}{module}{suffix}"
    for folder in ("/", "/src/")
    for module in ("pytest", "_pytest", "pluggy", "iniconfig", "coverage", "unittest")
    for suffix in (".py*", ".*so", "/__init__.*", "/__main__.*")
)
FAMILIES = (
    _family(
        "ci_configuration",
        "configures a CI service",
        """
        /.github/** /.gitlab/** .gitlab-ci.yml /.circleci/** .travis.yml azure-pipelines*.yml
        /.azure-pipelines/** /.azuredevops/** Jenkinsfile* /.buildkite/** .drone.yml /.woodpecker/**
        .woodpecker.y*ml bitbucket-pipelines.yml appveyor.yml .appveyor.yml .cirrus.yml .cirrus.star
        /.teamcity/** /.forgejo/** /.gitea/** /.ci/** cloudbuild.y*ml buildspec.y*ml /.semaphore/**
        /.tekton/** .readthedocs.y*ml renovate.json* .renovaterc* .build.y*ml /.builds/** netlify.toml
        .zuul.y*ml zuul.y*ml /.zuul.d/** /zuul.d/**
        """,
    ),
    _family(
        "build_backend",
        "runs whenever the project is built or installed",
        """
        setup.py build.rs **/.cargo/** binding.gyp gradlew gradlew.bat **/gradle/wrapper/** **/buildSrc/**
        init.gradle* mvnw mvnw.cmd **/.mvn/** .npmrc .yarnrc* **/.yarn/** .pnpmfile.* pip.conf .pypirc
        hatch_build.py extconf.rb Package.swift build.zig build.gradle build.gradle.kts settings.gradle
        settings.gradle.kts build.sbt **/project/*.sbt Directory.Build.props Directory.Build.targets
        Directory.Build.rsp Directory.Packages.props **/.bundle/config
        """,
    ),
    _family(
        "lock_file",
        "pins what is installed",
        """
        poetry.lock Pipfile.lock uv.lock pdm.lock pylock*.toml conda-lock.y*ml pixi.lock package-lock.json
        npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb deno.lock Cargo.lock go.sum
        Gemfile.lock composer.lock mix.lock pubspec.lock packages.lock.json gradle.lockfile Podfile.lock
        Package.resolved flake.lock .terraform.lock.hcl
        """,
    ),
    _family(
        "startup_file",
        "is run by an interpreter, test runner or shell on its own",
        """
        conftest.py sitecustomize.* usercustomize.* **/sitecustomize/** **/usercustomize/** *.pth pytest.ini
        .pytest.ini pytest.toml .pytest.toml tox.ini .envrc .mise.toml .mise.*.toml mise.toml mise.*.toml
        /.mise/** /mise/config*.toml /.config/mise/** .pdbrc
        .gdbinit .lldbinit .Rprofile .irbrc .pryrc .bashrc .profile .rspec .rspec-local bunfig.toml
        **/*.dist-info/entry_points.txt **/*.egg-info/entry_points.txt
        """
        + _SHADOWING,
    ),
    _family(
        "git_hook",
        "is run by git, or changes how git reads the tree",
        """
        .pre-commit-config.y*ml .pre-commit-hooks.y*ml **/.husky/** lefthook.* .lefthook.* /.lefthook/**
        .simple-git-hooks.* simple-git-hooks.* .lintstagedrc* lint-staged.config.*
        /.githooks/** /.git-hooks/** /githooks/** .overcommit.yml .gitattributes .lfsconfig .gitconfig
        """,
    ),
    _family(
        "editor_settings",
        "steers an editor or development environment",
        """
        **/.vscode/** *.code-workspace **/.idea/** **/.vs/** **/.fleet/** **/.zed/** .nvim.lua .nvimrc
        .exrc .vimrc .dir-locals*.el **/.devcontainer/** .devcontainer.json .gitpod.yml .gitpod.Dockerfile
        .replit /.idx/**
        """,
    ),
    _family(
        "agent_settings",
        "steers coding agents",
        """
        AGENTS.md AGENTS.override.md AGENT.md CLAUDE.md CLAUDE.local.md GEMINI.md WARP.md CRUSH.md
        **/.claude/** **/.cursor/** .cursorrules .cursorignore **/.codex/** **/.gemini/** **/.aider*
        **/.windsurf/** .windsurfrules **/.clinerules **/.roo/** .roorules* **/.continue/** **/.amazonq/**
        **/.kiro/** **/.junie/** **/.opencode/** opencode.json* .mcp.json mcp.json copilot-instructions.md
        **/.agents/** **/.qwen/** **/.goose* **/.augment* **/.trae/**
        """,
    ),
    _family("code_owners", "says who must review", "CODEOWNERS"),
    _family("policy_file", "is what Autopack itself goes by", "autopack.toml /.autopack/** /.autonomous_runs/**"),
)

# Which names make looks at after this one.
_MAKEFILES = {b"gnumakefile": (b"makefile", b"Makefile"), b"makefile": (b"Makefile",)}


def self_running_files(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """Files of the families above, by their names."""
    allowed = granting(policy.allow)
    families = [(family, forbidding(family.globs)) for family in FAMILIES]
    for file in change.files:
        if not allowed.match(file.path):
            yield from _by_name(file, families)


def _by_name(file: FileChange, families: list[tuple[Family, Globs]]) -> Iterator[Violation]:
    for family, globs in families:
        if globs.match(file.path):
            yield violation(
                family.rule,
                file.path,
                f"The file {family.what}.",
                "Leave it as it is, or have the phase's `allow` name this path.",
            )


def overriding_makefiles(change: ProposedChange, policy: Policy) -> Iterator[Violation]:
    """A new file that `make` reads in the place of another that is there."""
    allowed = granting(policy.allow)
    for file in change.files:
        folder, slash, name = file.path.rpartition(b"/")
        later = _MAKEFILES.get(name.lower(), ())
        hidden = any(folder + slash + other in change.result_paths for other in later if other != name)
        if file.is_new and hidden and not allowed.match(file.path):
            yield violation(
                "build_backend",
                file.path,
                "The file takes the place of the Makefile beside it.",
                "Change that one, or have the phase's `allow` name this path.",
            )
