"""Stage: theory."""
