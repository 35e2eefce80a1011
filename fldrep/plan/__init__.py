"""What a config means: the grid, its jobs, what reruns them and what they cost."""
