"""Openers: the scripts that Substra stores beside a hospital's data and runs to read it."""
