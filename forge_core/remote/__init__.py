"""Rented machines: rent, send, run, watch, fetch, give back."""
