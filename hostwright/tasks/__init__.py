"""The wiring: tasks for doit, each in front of one step of the engine. Only this package imports doit."""
