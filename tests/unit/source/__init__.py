"""Tests of hostwright.source."""
