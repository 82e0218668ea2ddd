"""The tree itself: its layers, patches and command line."""
