"""Fleets: many small models of one architecture, trained at once."""
