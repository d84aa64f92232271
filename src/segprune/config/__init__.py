"""The composed configuration: checked objects, and what is wrong with it in plain words."""
