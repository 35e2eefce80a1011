"""Stage: attack. An attack is data: its parts lie one file each in objectives, optimisers and regularisers.

Importing this package imports no torch, as settings look up the keys of parts.
"""
