"""Tests of hostwright.vm."""
