"""What a person or a rule types."""
