"""`python -m fldrep`."""

from fldrep.cli.main import main

if __name__ == "__main__":
    main()
