"""The host's own scripts, run with fake files around them."""
