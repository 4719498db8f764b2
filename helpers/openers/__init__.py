"""Openers: the scripts that Substra stores with a hospital's data and runs to read them."""
