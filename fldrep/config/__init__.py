"""What is asked: the config, one file a section."""
