"""Tests of hostwright.tasks."""
