"""Read and write checkpoint files: hostile until named otherwise, and precious. Needs torch."""
