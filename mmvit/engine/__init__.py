"""What the command line tools do: configuration, checks before the run, the run itself, progress."""
