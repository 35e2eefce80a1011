"""`python -m fldrep`."""

from fldrep.cli import main

if __name__ == "__main__":
    main()
