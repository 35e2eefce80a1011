"""Jobs of the theory stage, a module each: files of earlier stages in, one table out."""
