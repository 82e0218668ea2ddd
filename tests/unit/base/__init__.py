"""Tests of hostwright.base."""
