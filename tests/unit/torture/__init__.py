"""Tests of hostwright.torture."""
