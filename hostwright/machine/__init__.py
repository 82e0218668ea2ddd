"""host.toml: one machine, read and checked, and the kernel words that follow from it."""
