"""Helpers for federated chest X-rays: data, openers, weight exchange, algorithms and figures."""

__version__ = "0.1.0"
