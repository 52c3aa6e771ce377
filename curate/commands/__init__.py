"""What each command takes and prints, one file a command, named like the stage that does the work."""
