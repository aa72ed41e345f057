"""Local Mediation Module: carries scripts to targets and brings back validated answers.

Hosts, bytes, scripts, transports and envelopes belong here. What may run, where and when is
decided elsewhere: this package never imports ``lom``.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = ["__version__"]
