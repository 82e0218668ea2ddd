"""Tests of hostwright.image."""
