"""Configs: finding and reading them, and the questions that one asks them."""
