"""The command `autopack`."""


def main() -> None:
    """Carry out the command line of this process, and end it with the exit code."""
    import sys

    from services.cli.app import exit_code_of

    sys.exit(exit_code_of(sys.argv[1:]))
