"""What moves a trial image: one file an optimiser."""
