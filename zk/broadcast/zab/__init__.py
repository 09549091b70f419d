"""Zab with one log as the only authority."""
