"""`python -m liquidgen` is the `liquidgen` command."""

from liquidgen.cli.app import main

if __name__ == "__main__":
    main()
