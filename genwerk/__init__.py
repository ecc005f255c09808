"""Genwerk: files a team owns become a generative model the team owns."""

__version__ = "0.1.0"
