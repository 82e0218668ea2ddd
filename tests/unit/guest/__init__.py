"""Tests of hostwright.guest."""
