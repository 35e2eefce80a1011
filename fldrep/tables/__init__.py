"""What a row says: one file a table."""
