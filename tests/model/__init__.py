"""The turn protocol as an explicit-state model, and what happens when one of its rules is switched off."""
