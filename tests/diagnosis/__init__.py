"""Faults for the diagnosis to find, planted by the libraries' own calls."""
