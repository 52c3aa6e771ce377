"""Runs the command from an uninstalled checkout: `python cli.py score …`."""

from curate.cli import main

main()
