"""`python -m genwerk` is the `genwerk` command."""

from genwerk.cli import main

if __name__ == "__main__":
    main()
