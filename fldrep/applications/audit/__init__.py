"""An audit of one update: what a server could learn of the images behind it, by one command or one call."""
