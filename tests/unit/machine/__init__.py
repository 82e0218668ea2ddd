"""Tests of hostwright.machine."""
