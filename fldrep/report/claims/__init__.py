"""The paper's claims and this audit's own, a file each: a function under `@claim` from the tables to what was found.

A decorator gives a claim's `title`, what is `said` and its `source`, and its place in the `order` of the page.
"""
