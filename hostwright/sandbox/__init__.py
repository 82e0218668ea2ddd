"""The pinned tools, and the closed place they run in."""
