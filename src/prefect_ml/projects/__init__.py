"""Projects: a folder or a git commit with entry points, an environment, and parameters that are checked."""
