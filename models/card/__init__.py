"""Figures for the model card."""
