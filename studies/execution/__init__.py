"""How packs are trained: workers and clusters, and what is done when something is lost."""
