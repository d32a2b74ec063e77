"""A run of the command line tools: its configuration, the run itself, its progress."""
