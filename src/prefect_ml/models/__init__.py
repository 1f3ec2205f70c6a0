"""A model as a folder: format, signature, environment, flavors."""
