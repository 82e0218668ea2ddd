"""Tests of hostwright.build."""
