"""Tests of hostwright.sandbox."""
