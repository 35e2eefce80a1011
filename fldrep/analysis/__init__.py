"""What rows say together: figures, claims and the page read tables through these modules."""
