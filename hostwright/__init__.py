"""The engine of Hostwright: from recipes and one host.toml to a proved passthrough host."""
