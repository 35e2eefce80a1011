"""The jobs of the data stage: files in, images and their split out."""
