"""The command `autopack`."""


def main() -> None:
    """Carry out the command line of this process, and end it with the exit code."""
    import io
    import sys

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Marks and the words of agents may be in no alphabet but Unicode's: a ? is better than no answer.
            stream.reconfigure(errors="replace")
    try:
        # The imports take seconds on a busy machine: Ctrl-C is answered during them as well.
        from services.cli.app import exit_code_of

        exit_code = exit_code_of(sys.argv[1:])
    except KeyboardInterrupt:
        print("autopack: interrupted", file=sys.stderr)
        exit_code = 130
    sys.exit(exit_code)
