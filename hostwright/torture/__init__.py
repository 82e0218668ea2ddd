"""Runs and files that are damaged on purpose, and what is found afterwards."""
