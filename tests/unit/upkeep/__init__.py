"""Tests of hostwright.upkeep."""
