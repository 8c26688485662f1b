"""`python -m notifier` is the command line."""

from notifier.cli import main

if __name__ == "__main__":
    main()
