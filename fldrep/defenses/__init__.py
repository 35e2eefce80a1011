"""Defenses: what a client does to its update before it leaves. One file each; importing them imports no torch."""
