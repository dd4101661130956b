"""What `headrace doctor` looks at, part by part."""

from integration.wiring.checks.check import Check, State

__all__ = ["Check", "State"]
