"""What `make bench` measures, and evidence from a GPU."""
