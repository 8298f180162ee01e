"""`python -m liquidgen` is the `liquidgen` command."""

from liquidgen.cli.app import main  # pyright: ignore[reportMissingImports] - it is ../cli

if __name__ == "__main__":
    main()
