"""Tests of hostwright.formats."""
