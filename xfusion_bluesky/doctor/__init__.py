"""What an installation needs: each thing looked at, and what to do where it is not well."""

from .examination import examine, failed
from .finding import Finding, State

__all__ = ["Finding", "State", "examine", "failed"]
