"""``make bench``: what this program costs beside the least that the same work can cost."""
