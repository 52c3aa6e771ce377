"""Runs the command from an uninstalled checkout: `python cli.py score …`."""

from curate.cli import main

if __name__ == "__main__":  # a worker process imports this file again
    main()
