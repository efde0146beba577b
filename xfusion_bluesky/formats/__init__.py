"""Readers and writers of what cameras and XFusion leave on disk."""
