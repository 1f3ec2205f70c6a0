"""Whether what a model is asked, and what it answers, still looks like what it was trained on."""
