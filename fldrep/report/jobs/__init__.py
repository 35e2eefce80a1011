"""The jobs of the report stage: tables and figures in, pages out."""
