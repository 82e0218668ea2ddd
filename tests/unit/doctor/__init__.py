"""Tests of hostwright.doctor."""
