"""The files of runs, models and logged models over HTTP: streamed both ways, whole or not at all."""
