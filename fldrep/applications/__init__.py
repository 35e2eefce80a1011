"""What is built on all stages."""
