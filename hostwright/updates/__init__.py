"""A host that runs becomes another build: the way to it, and the proof of that way."""
